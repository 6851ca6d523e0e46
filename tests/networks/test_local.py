"""The local networks on a signal of one axis: to latents and back, as a whole or in chunks."""

import torch

from r2id.geometry.coordinates import Grid
from r2id.geometry.fourier import FourierPositionEmbedding
from r2id.networks.local import LocalDecoder, LocalEncoder


def position(dim: int) -> FourierPositionEmbedding:
    return FourierPositionEmbedding(dim, 4, 2, reference=16, expected=True, num_axes=1)


def test_a_signal_is_encoded_in_chunks_and_decoded_in_parts():
    encoder = LocalEncoder(1, 6, 4, 12, 3, 1, "softmax", 0.3, 3, position(12)).eval()
    decoder = LocalDecoder(1, 6, 12, 3, 1, "softmax", 0.3, 3, 8, 1, position(12), position(8)).eval()
    signal, source, latents = torch.randn(2, 90, 1), Grid.of_size((90,)), Grid.of_size((16,))
    with torch.no_grad():
        whole = encoder(signal, source, latents)
        first, second = (
            encoder.summarise_chunk(signal[:, part], source.crop(part), latents)
            for part in (slice(0, 31), slice(31, 90))
        )
        chunked = encoder.answer([one + other for one, other in zip(first, second, strict=True)], latents)
        assert whole.shape == (2, 16, 6)
        torch.testing.assert_close(chunked, whole, rtol=1e-3, atol=1e-4)
        decoded = decoder(whole, latents, source)
        assert decoded.shape == (2, 90, 1)
        part = decoder(whole, latents, source.crop(slice(20, 25)))
        torch.testing.assert_close(part, decoded[:, 20:25], rtol=1e-3, atol=1e-4)
        points = decoder(whole, latents, source.points())
        torch.testing.assert_close(points, decoded, rtol=1e-3, atol=1e-4)

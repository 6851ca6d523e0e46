"""Small ICC profiles, to read pictures with."""

import struct


def linear_rgb_profile() -> bytes:
    """An ICC profile of sRGB's primaries whose levels are linear in light."""
    chromaticities = {"wtpt": (0.9642, 1.0, 0.8249), "rXYZ": (0.4360, 0.2225, 0.0139)}
    chromaticities |= {"gXYZ": (0.3851, 0.7169, 0.0971), "bXYZ": (0.1431, 0.0606, 0.7141)}
    curve = b"curv" + struct.pack(">II", 0, 0)
    text = "linear".encode("ascii") + b"\0"
    tags = {name: b"XYZ " + struct.pack(">I3i", 0, *(round(65536 * one) for one in xyz)) for name, xyz in
            chromaticities.items()}  # fmt: skip
    tags |= {"rTRC": curve, "gTRC": curve, "bTRC": curve}
    tags |= {"desc": b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(79), "cprt": b"text" + bytes(4) + text}
    return icc_profile(tags, b"RGB ")


def linear_grey_profile() -> bytes:
    text = b"linear\0"
    return icc_profile(
        {
            "wtpt": b"XYZ " + struct.pack(">I3i", 0, *(round(65536 * one) for one in (0.9642, 1.0, 0.8249))),
            "kTRC": b"curv" + struct.pack(">II", 0, 0),
            "desc": b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(79),
            "cprt": b"text" + bytes(4) + text,
        },
        b"GRAY",
    )


def icc_profile(tags: dict[str, bytes], space: bytes) -> bytes:
    table, content, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name.encode() + struct.pack(">II", start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(content), b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(65536 * one) for one in (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + content

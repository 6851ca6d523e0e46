element.addEventListener('click', event => {
  const button = event.target.closest('.picture');
  if (button) trigger('select', {index: Number(button.dataset.index)});
});
// Pixels of a picture that is shown larger than it is stay sharp.
const mark = image => image.classList.toggle('coarse', image.naturalHeight < image.clientHeight);
element.addEventListener('load', event => mark(event.target), true);

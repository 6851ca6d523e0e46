element.addEventListener('click', event => {
  const button = event.target.closest('.picture');
  if (button) trigger('select', {index: Number(button.dataset.index)});
});

let start = null;
const place = event => {
  const frame = element.querySelector('.frame').getBoundingClientRect();
  const within = (value, size) => Math.min(1, Math.max(0, value / size));
  return [within(event.clientY - frame.top, frame.height), within(event.clientX - frame.left, frame.width)];
};
const part = event => {
  const end = place(event);
  const low = [0, 1].map(axis => Math.min(start[axis], end[axis]));
  const high = [0, 1].map(axis => Math.max(start[axis], end[axis]));
  return [...low, ...high];  // top, left, bottom, right
};
const stop = () => {
  start = null;
  const box = element.querySelector('.box');
  if (box) box.style.display = 'none';
};
element.addEventListener('pointerdown', event => {
  const frame = event.target.closest('.frame');
  if (!frame || !event.isPrimary) return;
  start = place(event);
  frame.setPointerCapture(event.pointerId);
});
element.addEventListener('pointermove', event => {
  if (!start) return;
  const [top, left, bottom, right] = part(event).map(edge => 100 * edge);
  const box = element.querySelector('.box');
  box.style.cssText = `display:block;top:${top}%;left:${left}%;width:${right - left}%;height:${bottom - top}%`;
});
element.addEventListener('pointerup', event => {
  if (!start) return;
  const chosen = part(event);
  stop();
  if (chosen[2] - chosen[0] > 0.01 && chosen[3] - chosen[1] > 0.01) trigger('select', {part: chosen});
});
// A finger that begins up or down scrolls the page, and two fingers enlarge it: the browser takes over.
element.addEventListener('pointercancel', stop);

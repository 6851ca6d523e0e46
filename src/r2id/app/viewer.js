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
// The slider says how many splats are shown, the largest first; another picture shows as many of its own.
let count = 0;
const outline = ([x, y, first, second, angle, colour]) =>
  `<ellipse cx="${x}" cy="${y}" rx="${first}" ry="${second}" transform="rotate(${angle} ${x} ${y})" stroke="${colour}"/>`;
// A splat mostly lies on its own colour, so a wider line, light below a dark one and dark below a light one, sets it off.
const isLight = colour => [0.299, 0.587, 0.114].reduce((luma, share, i) => luma + share * parseInt(colour.slice(2 * i + 1, 2 * i + 3), 16), 0) > 127;
const casing = ellipse => outline([...ellipse.slice(0, 5), isLight(ellipse[5]) ? 'black' : 'white']);
const drawSplats = () => {
  const slider = element.querySelector('.splats input'), svg = element.querySelector('.ellipses');
  if (!slider) return;
  const all = props.value?.ellipses ?? [], some = all.slice(0, count), text = `${some.length} of ${all.length}`;
  slider.value = some.length;
  slider.style.setProperty('--done', `${100 * some.length / Math.max(all.length, 1)}%`);
  slider.setAttribute('aria-valuetext', text);
  element.querySelector('.splats output').value = all.length ? text : '';
  svg?.setAttribute('viewBox', (props.value.part ?? [0, 0, 1, 1]).join(' '));
  if (svg) svg.innerHTML = `<g class="casings">${some.map(casing).join('')}</g><g class="outlines">${some.map(outline).join('')}</g>`;
};
element.addEventListener('input', event => {
  count = Number(event.target.value);
  drawSplats();
});
watch('value', drawSplats);

let split = 50, target = null, timer = null, drag = null, focused = null, asked = 0;
const find = name => element.querySelector(name);
const within = (value, least, most) => Math.min(Math.max(value, least), most);
// Pixels of the photograph that fit along each axis at a zoom.
const extent = zoom => ['y', 'x'].map((axis, i) => Math.min(props.value.most[i] / zoom, props.value.size[i]));
const clamped = ({y, x, zoom}) => {
  zoom = within(zoom, props.value.least, props.value.deepest);
  const [high, wide] = extent(zoom), [height, width] = props.value.size;
  return {y: within(y, high / 2, height - high / 2), x: within(x, wide / 2, width - wide / 2), zoom};
};
const current = () => target || props.value.view;
// Until the answer is here, what is shown moves and grows to where it will be.
const draw = () => {
  const frame = find('.frame');
  if (!frame) return;
  const from = props.value.view, to = current(), [high, wide] = extent(from.zoom);
  const unit = frame.clientWidth / wide, scale = to.zoom / from.zoom;
  const move = (centre, half, goal, side) => side / 2 + (centre - half - goal) * unit * scale;
  const x = move(from.x, wide / 2, to.x, frame.clientWidth), y = move(from.y, high / 2, to.y, frame.clientHeight);
  for (const image of element.querySelectorAll('.half img'))
    image.style.transform = target ? `translate(${x}px, ${y}px) scale(${scale})` : '';
  find('.in').disabled = to.zoom >= props.value.deepest;
  find('.out').disabled = to.zoom <= props.value.least;
};
// One view is rendered at a time; what is wanted then is asked for next. An answer may fail to come.
const LONGEST = 60000;
const send = () => {
  timer = null;
  if (!target || Date.now() - asked < LONGEST) return;
  asked = Date.now();
  trigger('select', target);
};
const ask = (view, wait = 150) => {
  target = clamped(view);
  draw();
  clearTimeout(timer);
  timer = setTimeout(send, wait);
};
const put = percent => {
  split = within(percent, 0, 100);
  find('.compare').style.setProperty('--split', `${split}%`);
  find('.divider')?.setAttribute('aria-valuenow', Math.round(split));
};
// The place of the photograph under the pointer.
const under = event => {
  const box = find('.frame').getBoundingClientRect(), {y, x, zoom} = current(), unit = box.width / extent(props.value.view.zoom)[1];
  const scale = unit * zoom / props.value.view.zoom;
  return {y: y + (event.clientY - box.top - box.height / 2) / scale, x: x + (event.clientX - box.left - box.width / 2) / scale};
};
// A place stays under the pointer.
const zoomAt = (event, factor, wait) => {
  const place = under(event), {y, x, zoom} = current(), next = clamped({y, x, zoom: zoom * factor}).zoom, part = zoom / next;
  ask({y: place.y + (y - place.y) * part, x: place.x + (x - place.x) * part, zoom: next}, wait);
};
element.addEventListener('pointerdown', event => {
  const frame = event.target.closest('.frame');
  if (!frame || !event.isPrimary || event.button) return;
  const divides = event.target.closest('.divider');
  drag = {divides, at: event, start: current(), place: under(event), moved: false};
  frame.setPointerCapture(event.pointerId);
});
element.addEventListener('pointermove', event => {
  if (!drag) return;
  const box = find('.frame').getBoundingClientRect();
  if (drag.divides) return put(100 * (event.clientX - box.left) / box.width);
  drag.moved ||= Math.hypot(event.clientX - drag.at.clientX, event.clientY - drag.at.clientY) > 5;
  if (!drag.moved) return;
  find('.frame').classList.add('moving');
  const place = under(event), now = current();
  target = clamped({y: now.y + drag.place.y - place.y, x: now.x + drag.place.x - place.x, zoom: now.zoom});
  draw();
});
element.addEventListener('pointerup', event => {
  if (!drag) return;
  const {divides, moved} = drag;
  drag = null;
  find('.frame').classList.remove('moving');
  if (moved) ask(target);
  else if (!divides) zoomAt(event, event.shiftKey ? 1 / 2 : 2);
  else send();
});
// A finger that begins up or down scrolls the page.
element.addEventListener('pointercancel', () => {
  const moved = drag?.moved;
  drag = null;
  if (moved) ask(target);
  else send();
});
// Two fingers on a touch pad are a wheel with Ctrl; without it the page scrolls.
let turned = 0;
element.addEventListener('wheel', event => {
  if (!event.ctrlKey || !event.target.closest('.frame')) return;
  event.preventDefault();
  turned += event.deltaY;
  if (Math.abs(turned) > 40) { zoomAt(event, turned > 0 ? 1 / 2 : 2, 300); turned = 0; }
}, {passive: false});
element.addEventListener('click', event => {
  const button = event.target.closest('.zoom button'), map = event.target.closest('.map');
  const {y, x, zoom} = current();
  if (button) ask({y, x, zoom: button.matches('.in') ? zoom * 2 : zoom / 2});
  if (map) {
    const box = map.getBoundingClientRect(), [height, width] = props.value.size;
    ask({y: height * (event.clientY - box.top) / box.height, x: width * (event.clientX - box.left) / box.width, zoom});
  }
});
element.addEventListener('keydown', event => {
  const step = {ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100}[event.key];
  if (!step || !event.target.closest('.divider')) return;
  event.preventDefault();
  put(split + step);
});
element.addEventListener('focusin', event => { focused = ['.in', '.out', '.divider'].find(name => event.target.matches(name)); });
let shown = null;
watch('value', () => {
  if (!props.value) return;
  // An answer to an earlier question leaves the target where it is.
  const {view, photograph} = props.value;
  if (photograph !== shown || (target && ['y', 'x', 'zoom'].every(key => Math.abs(view[key] - target[key]) < 1e-9))) target = null;
  shown = photograph;
  put(split);
  draw();
  if (props.value.ready) {
    asked = 0;
    if (!timer && !drag) send();
  }
  if (focused && document.activeElement === document.body) find(focused)?.focus({preventScroll: true});
});

const SIDES = ['left', 'right', 'top', 'bottom'];
let mode = 'grow', brush = 12, drag = null, stroke = null, placed = null, added = {left: 0, right: 0, top: 0, bottom: 0};
const find = name => element.querySelector(name);
const across = () => props.value.width + added.left + added.right;
const along = () => props.value.height + added.top + added.bottom;
// Where the picture lies: display pixels to one of its pixels, and the corner of the whole canvas on the stage. A picture that can
// grow leaves room around it.
const fit = () => {
  const stage = find('.stage'), [wide, high] = [stage.clientWidth, stage.clientHeight], {width, height} = props.value;
  const room = mode === 'grow' && props.value.ready ? 0.6 : 0.94;
  const scale = Math.min(room * wide / width, room * high / height, 0.94 * wide / across(), 0.94 * high / along());
  placed = {scale, x: (wide - scale * across()) / 2, y: (high - scale * along()) / 2};
};
const draw = () => {
  if (!props.value || !find('.stage').clientWidth) return;
  if (!drag) fit();
  const {scale, x, y} = placed, {width, height} = props.value, sheet = find('.sheet');
  sheet.style.cssText = `left: ${x}px; top: ${y}px; width: ${scale * across()}px; height: ${scale * along()}px`;
  for (const part of sheet.querySelectorAll('img, canvas'))
    part.style.cssText = `left: ${scale * added.left}px; top: ${scale * added.top}px; width: ${scale * width}px; height: ${scale * height}px`;
  if (Object.values(added).some(Boolean)) find('.sign').textContent = `${height}x${width} → ${along()}x${across()}`;
  else find('.sign').textContent = props.value.text;
  const image = sheet.querySelector('img');
  image.style.imageRendering = props.value.ready && scale >= 4 ? 'pixelated' : 'auto';
  for (const side of SIDES) if (document.activeElement !== find(`[name=${side}]`)) find(`[name=${side}]`).value = added[side];
};
const choose = chosen => {
  mode = chosen;
  find('.easel').dataset.mode = mode;
  for (const button of element.querySelectorAll('.modes button')) button.setAttribute('aria-checked', button.dataset.mode === mode);
  if (mode === 'paint') added = {left: 0, right: 0, top: 0, bottom: 0};
  draw();
};
const grown = side => {
  const {scale, x, y} = drag.placed, {width, height, most} = props.value, before = drag.added, box = find('.stage').getBoundingClientRect();
  const pointer = {x: (drag.at.clientX - box.left - x) / scale, y: (drag.at.clientY - box.top - y) / scale};
  const length = {left: before.left - pointer.x, right: pointer.x - before.left - width, top: before.top - pointer.y,
    bottom: pointer.y - before.top - height}[side];
  const axis = ['left', 'right'].includes(side) ? ['left', 'right'] : ['top', 'bottom'];
  const other = added[axis.find(one => one !== side)], limit = axis[0] === 'left' ? most[1] - width : most[0] - height;
  return Math.round(Math.min(Math.max(length, 0), Math.max(limit - other, 0)));
};
const paint = event => {
  const mask = find('.mask'), box = mask.getBoundingClientRect(), pen = mask.getContext('2d');
  const place = [(event.clientX - box.left) / box.width * mask.width, (event.clientY - box.top) / box.height * mask.height];
  pen.lineWidth = Math.max(1, brush / 100 * Math.max(mask.width, mask.height));
  pen.lineCap = pen.lineJoin = 'round';
  pen.strokeStyle = '#f60';
  pen.beginPath();
  pen.moveTo(...(stroke || place));
  pen.lineTo(...place);
  pen.stroke();
  stroke = place;
};
const clear = () => { const mask = find('.mask'); mask.width = props.value.width; mask.height = props.value.height; };
element.addEventListener('pointerdown', event => {
  if (!event.isPrimary || event.button || !props.value?.ready) return;
  const edge = event.target.closest('.edge'), mask = event.target.closest('.mask');
  if (edge) drag = {side: edge.dataset.side, at: event, placed: {...placed}, added: {...added}};
  else if (mask) { stroke = null; paint(event); stroke ||= [0, 0]; }
  else return;
  event.preventDefault();
  event.target.setPointerCapture(event.pointerId);
});
element.addEventListener('pointermove', event => {
  if (drag) {
    drag.at = event;
    added = {...added, [drag.side]: grown(drag.side)};
    placed = {...drag.placed, x: drag.placed.x - (added.left - drag.added.left) * placed.scale,
      y: drag.placed.y - (added.top - drag.added.top) * placed.scale};
    draw();
  } else if (stroke) for (const each of event.getCoalescedEvents?.() || [event]) paint(each);
});
const stop = event => {
  const moved = drag && SIDES.some(side => added[side] !== drag.added[side]);
  if (drag && event.type === 'pointercancel') added = drag.added;
  drag = stroke = null;
  if (moved && event.type === 'pointerup') grow();
  draw();
};
const grow = () => trigger('select', {added});
element.addEventListener('pointerup', stop);
element.addEventListener('pointercancel', stop);
element.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.mode) choose(button.dataset.mode);
  if (button.dataset.do === 'clear') clear();
  if (button.dataset.do === 'grow') grow();
  if (button.dataset.do === 'paint') trigger('select', {mask: find('.mask').toDataURL()});
});
element.addEventListener('input', event => {
  if (event.target.name === 'brush') brush = Number(event.target.value);
  else if (SIDES.includes(event.target.name)) { added = {...added, [event.target.name]: Math.max(0, Math.round(event.target.value) || 0)}; draw(); }
});
const begin = () => {
  if (!props.value) return;
  const {ready} = props.value, easel = find('.easel');
  if (!drag) added = {left: 0, right: 0, top: 0, bottom: 0};
  easel.classList.toggle('waiting', !ready);
  for (const part of easel.querySelectorAll('button, input')) part.disabled = !ready;
  find('[name=brush]').value = brush;
  clear();
  choose(mode);
};
new ResizeObserver(draw).observe(element);
watch('value', begin);
begin();

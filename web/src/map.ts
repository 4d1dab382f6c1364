/** The images where their latents lie, in the plane that shows most of them; a click decodes any point of it. */

import { moved } from './latents';
import { announce, el } from './dom';
import type { Studio } from './studio';

const WIDTH = 720; // of the drawing, in its own pixels; the page shows it as wide as there is room
const HEIGHT = 540;
const CELL = 40;
const FRAME = 3;
const CLOSEST = 40; // times as near as the whole
const STEP = 0.05; // of the view, for the arrow keys

interface View {
  x: number; // of the middle
  y: number;
  scale: number; // pixels per unit of latent
}

export function map(studio: Studio): HTMLElement {
  const { site } = studio;
  const { points, labels } = site.facts.images;
  const canvas = el('canvas', {
    width: WIDTH, height: HEIGHT, tabindex: 0, id: 'map', role: 'application',
    'aria-label': 'Map of images. Arrow keys move the cross, plus and minus zoom, 0 shows all, Enter picks the nearest image.',
  });
  const whole = viewOf(points);
  let view = { ...whole };
  let cross: [number, number] = [view.x, view.y];
  const look = (to: View): void => {
    const scale = Math.min(CLOSEST * whole.scale, Math.max(whole.scale, to.scale));
    view = scale === whole.scale ? { ...whole } : { ...within(points, to), scale };
    redraw();
  };
  const label = el('p', { class: 'hint', id: 'there' }, '');
  const pickImage = el('button', { type: 'button', onclick: () => {
    const row = nearestTo(points, cross);
    studio.pick({ latent: site.latent(row), name: site.nameOf(row) });
  } }, 'Pick the nearest image');
  const redraw = (): void => draw(studio, canvas, view, cross);
  const go = (to: [number, number]): void => {
    cross = to;
    const near = nearestTo(points, cross);
    const [along, up] = site.facts.plane.axes;
    if (site.model.codes) studio.pick({ latent: site.latent(near), name: site.nameOf(near) });
    else studio.pick({ latent: moved(Float32Array.from(site.facts.mean), [[cross[0], along], [cross[1], up]]), name: `map at ${cross.map((at) => at.toFixed(2)).join(', ')}` });
    label.textContent = `Nearest there: ${site.nameOf(near)}${labels && site.facts.images.names ? ` (${site.facts.classes[labels[near]]})` : ''}`;
    redraw();
  };
  const zoom = (by: number, about: [number, number]): void =>
    look({ x: about[0] + (view.x - about[0]) / by, y: about[1] + (view.y - about[1]) / by, scale: view.scale * by });
  const at = (event: MouseEvent): [number, number] => {
    const box = canvas.getBoundingClientRect();
    const [px, py] = [((event.clientX - box.left) / box.width) * WIDTH, ((event.clientY - box.top) / box.height) * HEIGHT];
    return [view.x + (px - WIDTH / 2) / view.scale, view.y - (py - HEIGHT / 2) / view.scale];
  };
  dragging(canvas, (dx, dy) => {
    look({ ...view, x: view.x - dx / view.scale, y: view.y + dy / view.scale });
  }, (event) => go(at(event)));
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), at(event));
  }, { passive: false });
  canvas.addEventListener('keydown', (event) => {
    const far = (STEP * WIDTH) / view.scale;
    const ways: Record<string, [number, number]> = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] };
    if (ways[event.key]) go([cross[0] + ways[event.key][0], cross[1] + ways[event.key][1]]);
    else if (event.key === '+' || event.key === '=') zoom(1.5, cross);
    else if (event.key === '-') zoom(1 / 1.5, cross);
    else if (event.key === '0') look(whole);
    else if (event.key === 'Enter') pickImage.click();
    else return;
    event.preventDefault();
    announce(label.textContent ?? '');
  });
  redraw();
  document.addEventListener('theme', redraw);
  const shares = site.facts.plane.shares.map((share) => `${Math.round(100 * share)} %`).join(' and ');
  return el(
    'div', {},
    el('p', { class: 'hint' }, `${site.count.toLocaleString('en')} ${site.shown}, by the two directions that vary most (${shares} of the variance). Click ${site.model.codes ? 'to pick the nearest image' : 'anywhere to see what lies there'}; zoom in for more.`),
    canvas,
    legend(studio),
    label,
    el(
      'div', { class: 'row' }, pickImage,
      el('button', { type: 'button', 'aria-label': 'Zoom in', onclick: () => zoom(1.5, cross) }, '+'),
      el('button', { type: 'button', 'aria-label': 'Zoom out', onclick: () => zoom(1 / 1.5, cross) }, '−'),
      el('button', { type: 'button', onclick: () => look(whole) }, 'Whole map'),
    ),
  );
}

/** The lowest and the highest of the points, along both axes. */
function ends(points: [number, number][]): number[][] {
  return [Math.min, Math.max].map((pick) => [0, 1].map((k) => points.reduce((kept, p) => pick(kept, p[k]), points[0][k])));
}

/** A view whose middle is among the points: nobody gets lost. */
function within(points: [number, number][], view: View): View {
  const [low, high] = ends(points);
  const [x, y] = [view.x, view.y].map((at, k) => Math.min(high[k], Math.max(low[k], at)));
  return { ...view, x, y };
}

/** All points, with a margin. */
function viewOf(points: [number, number][]): View {
  const [low, high] = ends(points);
  const scale = Math.min(...[WIDTH, HEIGHT].map((side, k) => (side - 2 * CELL) / (high[k] - low[k] || 1)));
  return { x: (low[0] + high[0]) / 2, y: (low[1] + high[1]) / 2, scale };
}

function nearestTo(points: [number, number][], [x, y]: [number, number]): number {
  const square = ([px, py]: [number, number]): number => (px - x) ** 2 + (py - y) ** 2;
  return points.reduce((best, point, row) => (square(point) < square(points[best]) ? row : best), 0);
}

/** Of the images of a cell of the view the one nearest to its middle, in a grid: none hides another. */
function draw({ site }: Studio, canvas: HTMLCanvasElement, view: View, cross: [number, number]): void {
  const context = canvas.getContext('2d');
  if (!context) return;
  const { points, labels } = site.facts.images;
  const place = ([x, y]: [number, number]): [number, number] => [WIDTH / 2 + (x - view.x) * view.scale, HEIGHT / 2 - (y - view.y) * view.scale];
  const cells = new Map<string, { row: number; off: number; left: number; top: number }>();
  points.forEach((point, row) => {
    const [px, py] = place(point);
    const [column, line] = [Math.floor(px / CELL), Math.floor(py / CELL)];
    const off = (px - (column + 0.5) * CELL) ** 2 + (py - (line + 0.5) * CELL) ** 2;
    const key = `${column},${line}`;
    if (off < (cells.get(key)?.off ?? Infinity)) cells.set(key, { row, off, left: column * CELL, top: line * CELL });
  });
  const isFramed = labels !== null && site.facts.classes.length <= site.facts.colors.length;
  context.clearRect(0, 0, WIDTH, HEIGHT);
  for (const { row, left, top } of cells.values()) {
    const [sx, sy, w, h] = site.tile(row);
    if (isFramed) {
      context.fillStyle = site.facts.colors[labels[row]];
      context.fillRect(left, top, CELL - 1, CELL - 1);
    }
    const inner = CELL - (isFramed ? 2 * FRAME + 1 : 1);
    const scale = inner / Math.max(w, h);
    context.imageSmoothingEnabled = Math.max(w, h) > 32;
    const margin = isFramed ? FRAME : 0;
    context.drawImage(site.thumbnails, sx, sy, w, h, left + margin + (inner - w * scale) / 2, top + margin + (inner - h * scale) / 2, w * scale, h * scale);
  }
  const [x, y] = place(cross);
  const style = getComputedStyle(document.documentElement);
  for (const [color, width] of [[style.getPropertyValue('--paper'), 6], [style.getPropertyValue('--accent'), 2.5]] as const) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, 9, 0, 2 * Math.PI);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 5 * dx, y + 5 * dy);
      context.lineTo(x + 15 * dx, y + 15 * dy);
    }
    context.stroke();
  }
}

function legend({ site }: Studio): HTMLElement | null {
  const { classes, colors, images } = site.facts;
  if (!images.labels || classes.length > colors.length) return null;
  const swatch = (i: number): HTMLElement => {
    const made = el('i', {});
    made.style.setProperty('background', colors[i]);
    return made;
  };
  return el('ul', { class: 'legend' }, ...classes.map((name, i) => el('li', {}, swatch(i), name)));
}

/** A pointer that moves drags, one that does not clicks. */
function dragging(canvas: HTMLCanvasElement, drag: (dx: number, dy: number) => void, click: (event: PointerEvent) => void): void {
  let from: PointerEvent | null = null;
  let isMoving = false;
  canvas.addEventListener('pointerdown', (event) => {
    from = event;
    isMoving = false;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!from) return;
    const [dx, dy] = [event.clientX - from.clientX, event.clientY - from.clientY];
    if (!isMoving && Math.hypot(dx, dy) < 5) return;
    isMoving = true;
    const wide = WIDTH / canvas.getBoundingClientRect().width;
    drag(dx * wide, dy * wide);
    from = event;
  });
  canvas.addEventListener('pointerup', (event) => {
    if (from && !isMoving) click(event);
    from = null;
  });
  canvas.addEventListener('pointercancel', () => (from = null));
}

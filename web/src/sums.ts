/** A − B + C. */

import { moved } from './latents';
import { el } from './dom';
import { canvasFor, download } from './picture';
import { Drawing, type Named, SLOTS, type Studio } from './studio';

export function sums(studio: Studio): HTMLElement {
  const { image } = studio.site.model;
  const canvas = canvasFor(image, 'A − B + C');
  canvas.id = 'sum';
  const drawing = new Drawing(studio, canvas);
  const parts = SLOTS.map((slot) => ({ slot, drawing: new Drawing(studio, canvasFor(image, `slot ${slot}`)) }));
  const sum = (): Named | null => {
    const [a, b, c] = SLOTS.map((slot) => studio.slots.get(slot));
    return a && b && c ? { latent: moved(a.latent, [[-1, b.latent], [1, c.latent]]), name: `${a.name} − ${b.name} + ${c.name}` } : null;
  };
  const redraw = (): void => {
    for (const part of parts) {
      const kept = studio.slots.get(part.slot);
      if (kept) void part.drawing.draw(kept.latent);
    }
    const found = sum();
    if (found) void drawing.draw(found.latent);
  };
  studio.on(['slots'], redraw);
  redraw();
  const term = (sign: string, name: string, shown: HTMLElement): HTMLElement =>
    el('div', { class: 'term' }, sign ? el('span', { class: 'sign', 'aria-hidden': 'true' }, sign) : null, el('figure', {}, shown, el('figcaption', {}, name)));
  return el(
    'div', {},
    el('p', { class: 'hint' }, 'What A has and B has not, added to C. Put pictures in the slots below the picked one.'),
    el('div', { class: 'sum' }, ...parts.map(({ slot, drawing: each }, i) => term(['', '−', '+'][i], slot, each.canvas)), term('=', 'A − B + C', canvas)),
    el(
      'div', { class: 'row' },
      el('button', { type: 'button', onclick: () => {
        const found = sum();
        if (found) studio.pick(found);
      } }, 'Pick this'),
      el('button', { type: 'button', onclick: () => download(canvas, 'sum') }, 'Download'),
    ),
  );
}

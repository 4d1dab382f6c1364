/** From slot A to slot B, with a scrubber and an animation. */

import { type Latent, linear, spherical } from './latents';
import { el } from './dom';
import { canvasFor, download } from './picture';
import { Drawing, type Studio } from './studio';

const SECONDS = 4; // there; as many back

export function walk(studio: Studio): HTMLElement {
  const canvas = canvasFor(studio.site.model.image, 'the place on the way from A to B');
  canvas.id = 'walked';
  const drawing = new Drawing(studio, canvas);
  const path = el('select', { 'aria-label': 'Path', onchange: () => redraw() }, el('option', { value: 'linear' }, 'straight'), el('option', { value: 'spherical' }, 'spherical'));
  const scrubber = el('input', { type: 'range', min: 0, max: 1, step: 0.01, value: 0.5, 'aria-label': 'From A to B', oninput: () => {
    stop();
    redraw();
  } });
  const play = el('button', { type: 'button', 'aria-pressed': 'false', onclick: () => (frame ? stop() : start()) }, 'Play');
  let frame = 0;
  const here = (): Latent | null => {
    const [a, b] = [studio.slots.get('A'), studio.slots.get('B')];
    return a && b ? between(studio, a.latent, b.latent, Number(scrubber.value), path.value) : null;
  };
  const redraw = (): void => {
    const latent = here();
    if (latent) void drawing.draw(latent);
  };
  const start = (): void => {
    const began = performance.now() - Number(scrubber.value) * SECONDS * 1000;
    const step = (now: number): void => {
      const round = ((now - began) / 1000 / SECONDS) % 2;
      scrubber.value = String(round > 1 ? 2 - round : round);
      redraw();
      frame = requestAnimationFrame(step);
    };
    frame = requestAnimationFrame(step);
    said('Stop', 'true');
  };
  const stop = (): void => {
    cancelAnimationFrame(frame);
    frame = 0;
    said('Play', 'false');
  };
  const said = (words: string, isPressed: string): void => {
    play.textContent = words;
    play.setAttribute('aria-pressed', isPressed);
  };
  studio.on(['slots'], redraw);
  redraw();
  const named = (): string => `walk ${Number(scrubber.value).toFixed(2)}`;
  const panel = el(
    'div', { class: 'centered' },
    el('p', { class: 'hint' }, 'Between what is in slots A and B.'),
    el('div', { class: 'frame' }, canvas),
    el('label', { class: 'slider free' }, el('span', {}, 'A'), scrubber, el('span', {}, 'B')),
    el(
      'div', { class: 'row' }, play, path,
      el('button', { type: 'button', onclick: () => {
        const latent = here();
        if (latent) studio.pick({ latent, name: named() });
      } }, 'Pick this'),
      el('button', { type: 'button', onclick: () => download(canvas, named()) }, 'Download'),
    ),
  );
  panel.addEventListener('left', stop);
  return panel;
}

function between(studio: Studio, from: Latent, to: Latent, t: number, path: string): Latent {
  if (path === 'linear') return linear(from, to, t);
  const { site } = studio; // where samples of the prior lie near a sphere
  return site.fromNoise(spherical(site.noiseOf(from), site.noiseOf(to), t));
}

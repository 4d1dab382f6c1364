/** The run's numbers, the doctor's verdict, curves, and the pictures of its epochs. */

import { el, svg } from './dom';
import type { Curve, Facts, Picture } from './site';

export function training(facts: Facts): HTMLElement {
  return el(
    'div', {},
    facts.verdict ? el('p', { class: 'verdict' }, el('strong', {}, `Verdict: ${facts.verdict.name}. `), sentence(facts.verdict.reason)) : null,
    el(
      'table', {},
      el('caption', {}, `Measured on ${facts.measured_on}`),
      el('tbody', {}, ...facts.numbers.map(({ name, value, unit, meaning }) => el('tr', { title: meaning }, el('th', { scope: 'row' }, name), el('td', {}, `${value} ${unit}`)))),
    ),
    el('p', { class: 'hint' }, `Recipe ${facts.recipe}, trained on ${facts.trained_on.toLocaleString('en')} images${facts.source ? ` of ${facts.source}` : ''}, ${facts.images_seen.toLocaleString('en')} with repeats.`),
    epochs(facts),
    el('div', { class: 'curves' }, ...facts.curves.map(curve)),
  );
}

function sentence(reason: string): string {
  const words = reason.charAt(0).toUpperCase() + reason.slice(1);
  return /[.!?]$/.test(words) ? words : `${words}.`;
}

/** The pictures drawn while training, with a slider through the epochs. */
function epochs({ epochs: all }: Facts): HTMLElement | null {
  if (!all.length) return null;
  const output = el('output', {});
  const pictures = (['reconstructions', 'samples'] as const)
    .filter((kind) => all.some((each) => each[kind]))
    .map((kind) => ({ kind, image: el('img', { id: `epoch-${kind}`, loading: 'lazy' }) }));
  const show = (): void => {
    const now = all[Number(slider.value)];
    output.textContent = `epoch ${now.epoch}`;
    slider.setAttribute('aria-valuetext', `epoch ${now.epoch}`);
    for (const { kind, image } of pictures) place(image, now[kind], `${kind} after epoch ${now.epoch}`);
  };
  const slider = el('input', { type: 'range', min: 0, max: all.length - 1, step: 1, value: all.length - 1, 'aria-label': 'Epoch', id: 'epoch', oninput: show });
  show();
  const words = { reconstructions: 'Held-out images above their reconstructions', samples: 'Samples from the same latents' };
  return el(
    'div', {},
    el('label', { class: 'slider free' }, el('span', {}, 'Epoch'), slider, output),
    ...pictures.map(({ kind, image }) => el('figure', {}, image, el('figcaption', {}, words[kind]))),
  );
}

function place(image: HTMLImageElement, picture: Picture | undefined, words: string): void {
  image.hidden = !picture;
  if (!picture) return;
  image.width = picture.width;
  image.height = picture.height;
  image.src = picture.file;
  image.alt = words;
}

const WIDE = 320;
const HIGH = 150;
const LEFT = 60;
const BELOW = 22;
const ABOVE = 8;

/** One figure: lines over images seen. */
function curve({ title, unit, note, series }: Curve): HTMLElement {
  const [xs, ys] = [series.flatMap(({ x }) => x), series.flatMap(({ y }) => y)];
  const most = Math.max(...xs);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const across = (x: number): number => LEFT + (x / most) * (WIDE - LEFT - 4);
  const up = (y: number): number => ABOVE + (1 - (y - low) / (high - low || 1)) * (HIGH - ABOVE - BELOW);
  const tick = (y: number): SVGElement => svg('text', { x: LEFT - 6, y: up(y) + 4, 'text-anchor': 'end' }, short(y));
  const lines = series.map(({ part, x, y }) =>
    svg('polyline', { class: part, points: x.map((at, i) => `${across(at).toFixed(1)},${up(y[i]).toFixed(1)}`).join(' ') }),
  );
  const words = `${title}, ${unit}, from ${short(series[0].y[0])} to ${short(series.at(-1)?.y.at(-1) ?? Number.NaN)} over ${short(most)} images`;
  return el(
    'figure', {},
    el('figcaption', {}, el('strong', {}, title), ` ${unit}${note ? `, ${note}` : ''}`),
    svg(
      'svg', { viewBox: `0 0 ${WIDE} ${HIGH}`, role: 'img', 'aria-label': words },
      svg('line', { x1: LEFT, x2: WIDE - 4, y1: up(low), y2: up(low) }),
      tick(low), tick(high),
      svg('text', { x: WIDE - 4, y: HIGH - 4, 'text-anchor': 'end' }, `${short(most)} images`),
      ...lines,
    ),
    el('p', { class: 'hint' }, ...series.map(({ part }) => el('span', { class: `key ${part}` }, part))),
  );
}

function short(value: number): string {
  return new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 }).format(value).replace('-', '−');
}

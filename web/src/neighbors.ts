/** The images whose latents are nearest to the current one. */

import { nearest } from './latents';
import { el, settled } from './dom';
import type { Studio } from './studio';

const COUNT = 12;

export function neighbors(studio: Studio): HTMLElement {
  const { site } = studio;
  const grid = el('div', { class: 'grid' });
  const unit = site.model.codes ? 'the units of the code vectors, averaged over parts of the image' : site.facts.grid ? 'the units of the latents, averaged over parts of the image' : site.model.prior ? 'standard deviations of the prior' : 'the units of the latents';
  const redraw = (): void => {
    const found = nearest(site.summaries, site.summaryOf(studio.latent), COUNT);
    grid.replaceChildren(...found.map(({ row, distance }) => tile(studio, row, distance)));
  };
  studio.on(['picked', 'moved'], settled(60, redraw));
  redraw();
  return el('div', {}, el('p', { class: 'hint' }, `The nearest on the map (${site.shown}) to the current latent, with distances in ${unit}. Click one to pick it.`), grid);
}

function tile(studio: Studio, row: number, distance: number): HTMLElement {
  const { site } = studio;
  const name = site.nameOf(row);
  const [left, top, width, height] = site.tile(row);
  const canvas = el('canvas', { width, height, role: 'img', 'aria-label': name });
  if (Math.max(width, height) <= 32) canvas.classList.add('pixelated');
  canvas.getContext('2d')?.drawImage(site.thumbnails, left, top, width, height, 0, 0, width, height);
  const pick = (): void => studio.pick({ latent: site.latent(row), name });
  return el('button', { type: 'button', class: 'tile', title: name, onclick: pick }, canvas, el('span', {}, distance.toFixed(2)));
}

/** The images whose codes are nearest to the one that is seen. */

import { nearest } from './codes';
import { el, settled } from './dom';
import type { Studio } from './studio';

const COUNT = 12;

export function neighbours(studio: Studio): HTMLElement {
  const { site } = studio;
  const grid = el('div', { class: 'grid' });
  const unit = site.model.prior ? 'standard deviations of the prior' : 'the units of the codes';
  const redraw = (): void => {
    const found = nearest(site.noises, site.noiseOf(studio.code), COUNT);
    grid.replaceChildren(...found.map(({ row, distance }) => tile(studio, row, distance)));
  };
  studio.on(['picked', 'moved'], settled(60, redraw));
  redraw();
  return el('div', {}, el('p', { class: 'hint' }, `Of the map, ${site.shown}, those whose codes are nearest to what is seen, with their distances in ${unit}. Click one to pick it.`), grid);
}

function tile(studio: Studio, row: number, distance: number): HTMLElement {
  const { site } = studio;
  const name = site.nameOf(row);
  const [left, top, width, height] = site.tile(row);
  const canvas = el('canvas', { width, height, role: 'img', 'aria-label': name });
  if (Math.max(width, height) <= 32) canvas.classList.add('pixelated');
  canvas.getContext('2d')?.drawImage(site.thumbnails, left, top, width, height, 0, 0, width, height);
  const pick = (): void => studio.pick({ code: site.code(row), name });
  return el('button', { type: 'button', class: 'tile', title: name, onclick: pick }, canvas, el('span', {}, distance.toFixed(2)));
}

/** Pictures drawn at random; a click picks one. */

import { el } from './dom';
import { canvasFor, show } from './picture';
import type { Named, Studio } from './studio';

const COUNT = 18;
const AT_ONCE = 3; // decoded in one go, so that sliders need not wait long

export function samples(studio: Studio): HTMLElement {
  const grid = el('div', { class: 'grid' });
  let seed = 0;
  const again = (): void => {
    const from = seed;
    seed += COUNT;
    void fill(studio, grid, from, () => from + COUNT === seed);
  };
  const { codes, prior } = studio.site.model;
  const words = prior || codes
    ? `Drawn at random from the prior${codes ? ' when this page was made' : ''}. Click one to pick it.`
    : 'This autoencoder has no prior to draw from: these are its reconstructions of images, at random. Click one to pick it.';
  const panel = el('div', {}, el('p', { class: 'hint' }, words), grid, el('div', { class: 'row' }, el('button', { type: 'button', onclick: again }, 'Draw others')));
  again();
  return panel;
}

async function fill(studio: Studio, grid: HTMLElement, seed: number, isWanted: () => boolean): Promise<void> {
  try {
    const seeds = Array.from({ length: COUNT }, (_, i) => seed + i);
    const drawn = await studio.site.draw(seeds, studio.engine);
    if (!isWanted()) return;
    const tiles = drawn.map((named) => tile(studio, named));
    grid.replaceChildren(...tiles.map(({ button }) => button));
    for (let i = 0; i < COUNT && isWanted(); i += AT_ONCE) {
      const pictures = await studio.engine.decode(drawn.slice(i, i + AT_ONCE).map(({ latent }) => latent));
      pictures.forEach((picture, k) => show(tiles[i + k].canvas, picture, studio.site.model.image));
    }
    grid.dataset.seed = String(seed);
  } catch (error) {
    studio.fail(error);
  }
}

function tile(studio: Studio, named: Named): { button: HTMLElement; canvas: HTMLCanvasElement } {
  const canvas = canvasFor(studio.site.model.image, named.name);
  const button = el('button', { type: 'button', class: 'tile', title: named.name, onclick: () => studio.pick(named) }, canvas);
  return { button, canvas };
}

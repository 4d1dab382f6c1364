/** A slider for each attribute, and for each of the most active dimensions. */

import { byId, el, spaced } from './dom';
import type { Studio } from './studio';

const REACH = { attributes: 2, dimensions: 3 };
const MANY = 12; // attributes, from which on they can be searched

export function sliders(studio: Studio): void {
  const { model, facts } = studio.site;
  const parts = byId('sliders');
  if (model.codes) {
    parts.append(group('Codes', wordsOf(model.codes), [], true));
    return;
  }
  const [plain, values] = attributes(studio);
  const dimensions = facts.axes.map(({ name, step, levels, level = 1 }) => {
    const row = sliderOf(studio, name, name, REACH.dimensions, step, `two standard deviations change pixels by ${levels.toFixed(1)} levels`);
    row.dataset.level = String(level);
    return row;
  });
  const hasSome = Object.keys(model.directions).length > 0;
  if (hasSome) {
    const inner = [...values].map(([column, rows]) => el('details', {}, el('summary', {}, column), ...rows));
    parts.append(group('Attributes', '1 goes from images without it to images with it.', [...plain, ...inner], true));
  }
  const picker = levelPicker(dimensions);
  parts.append(group('Dimensions', 'In standard deviations of the latents; the most active first.', dimensions, !hasSome, picker));
}

function wordsOf({ rows, columns, count }: { rows: number; columns: number; count: number }): string {
  return `An image is ${rows} × ${columns} discrete codes, each one of ${count}. The codes have no order, so there are no sliders, walks, or sums.`;
}

/** Chooses the level of a hierarchy whose dimensions are shown; null for a model with one. Sliders keep their values. */
function levelPicker(rows: HTMLElement[]): HTMLElement | null {
  const levels = [...new Set(rows.map(({ dataset }) => dataset.level ?? ''))];
  if (levels.length < 2) return null;
  const words = levels.map((level, i) => `Level ${level}${i === 0 ? ', the top' : i === levels.length - 1 ? ', the finest' : ''}`);
  const show = (): void => {
    for (const row of rows) row.hidden = row.dataset.level !== select.value;
  };
  const select = el('select', { 'aria-label': 'Level', onchange: show }, ...levels.map((value, i) => el('option', { value }, words[i])));
  show();
  return select;
}

/** Those that are there or not, and those that are one value of a column of words, by column. */
function attributes(studio: Studio): [HTMLElement[], Map<string, HTMLElement[]>] {
  const plain: HTMLElement[] = [];
  const values = new Map<string, HTMLElement[]>();
  for (const [name, { vector, accuracy }] of Object.entries(studio.site.model.directions).sort(([a], [b]) => a.localeCompare(b))) {
    const hint = accuracy === null ? '' : `told apart in ${Math.round(100 * accuracy)} % of held-out images`;
    const [column, value] = name.split('=', 2);
    const rows = value === undefined ? plain : (values.get(spaced(column)) ?? []);
    rows.push(sliderOf(studio, name, spaced(value ?? column), REACH.attributes, vector, hint));
    if (value !== undefined) values.set(spaced(column), rows);
  }
  return [plain, values];
}

function group(title: string, words: string, rows: HTMLElement[], isOpen: boolean, picker: HTMLElement | null = null): HTMLElement {
  const body = el('div', {}, ...rows);
  const all = [...body.querySelectorAll<HTMLElement>('[data-name]')];
  const search = el('input', { type: 'search', placeholder: 'Find', 'aria-label': `Find among ${title.toLowerCase()}`, oninput: () => {
    for (const row of all) row.hidden = !row.dataset.name?.toLowerCase().includes(search.value.trim().toLowerCase());
    for (const inner of body.querySelectorAll('details')) {
      inner.hidden = !inner.querySelector('[data-name]:not([hidden])');
      inner.open = search.value !== '';
    }
  } });
  const chooser = picker ?? (all.length > MANY ? search : null); // a search would show rows of all levels
  return el('details', { open: isOpen, class: 'card' }, el('summary', {}, title), el('p', { class: 'hint' }, words), chooser, body);
}

function sliderOf(studio: Studio, name: string, words: string, reach: number, step: ArrayLike<number>, hint: string): HTMLElement {
  const value = el('output', {}, '0');
  const set = (): void => {
    value.textContent = Number(slider.value).toFixed(2).replace('-', '−').replace(/\.?0+$/, '');
  };
  const slider = el('input', {
    type: 'range', min: -reach, max: reach, step: 0.05, value: 0, 'aria-label': spaced(name).replace('=', ' '),
    oninput: () => {
      set();
      studio.move(name, Number(slider.value), step);
    },
    ondblclick: () => {
      slider.value = '0';
      set();
      studio.move(name, 0, step);
    },
  });
  set();
  studio.on(['picked'], () => {
    slider.value = '0';
    set();
  });
  return el('label', { class: 'slider', 'data-name': spaced(name), title: hint }, el('span', {}, words), slider, value);
}

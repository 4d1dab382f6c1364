/** The picked picture, large, with what can be done with it. */

import { fromText, toText } from './latents';
import { announce, byId, el } from './dom';
import { canvasFor, download, show } from './picture';
import { Drawing, SLOTS, type Slot, type Studio } from './studio';

const IN_ADDRESS = '#z=';
let isReading = false; // the address

export function stage(studio: Studio): void {
  const { codes, image } = studio.site.model;
  const canvas = canvasFor(image, 'the picked picture');
  canvas.id = 'picked';
  const drawing = new Drawing(studio, canvas);
  const caption = el('p', { id: 'caption' });
  const undo = el('button', { type: 'button', onclick: () => studio.pick(studio.picked) }, 'Undo edits');
  const redraw = (): void => {
    caption.textContent = studio.name;
    caption.title = studio.name;
    if (!isReading && location.hash) history.replaceState(null, '', location.pathname + location.search); // of another picture
    canvas.setAttribute('aria-label', `the picked picture: ${studio.name}`);
    undo.disabled = studio.moves.size === 0;
    void drawing.draw(studio.latent);
  };
  studio.on(['picked', 'moved'], redraw);
  studio.on(['picked'], () => {
    announce(`picked ${studio.name}`);
    document.getElementById('original')?.remove(); // that of another picture
  });
  byId('stage').append(
    el('div', { class: 'frame' }, canvas),
    caption,
    el(
      'div',
      { class: 'row' },
      el('button', { type: 'button', onclick: () => download(canvas, studio.name.replace(/\.\w{3,4}(?= |$)/, '')) }, 'Download'),
      codes ? '' : undo,
      el('button', { type: 'button', onclick: () => void share(studio) }, 'Copy link'),
    ),
    codes ? '' : slots(studio),
  );
  window.addEventListener('hashchange', () => fromAddress(studio));
}

/** Three places to keep latents in: put the picked one there, or pick what is there. */
function slots(studio: Studio): HTMLElement {
  return el('div', { class: 'slots', role: 'group', 'aria-label': 'Slots for walks and sums' }, ...SLOTS.map((slot) => slotOf(studio, slot)));
}

function slotOf(studio: Studio, slot: Slot): HTMLElement {
  const { image } = studio.site.model;
  const canvas = canvasFor(image, '');
  canvas.setAttribute('aria-hidden', 'true');
  canvas.removeAttribute('role');
  canvas.removeAttribute('aria-label');
  const pick = el('button', { type: 'button', class: 'tile', onclick: () => {
    const kept = studio.slots.get(slot);
    if (kept) studio.pick(kept);
  } }, canvas);
  const put = el('button', { type: 'button', onclick: () => {
    studio.put(slot, { latent: studio.latent, name: studio.name });
    announce(`${studio.name} is in slot ${slot}`);
  } }, `Put in ${slot}`);
  const drawing = new Drawing(studio, canvas);
  let drawn: unknown = null;
  studio.on(['slots'], () => {
    const kept = studio.slots.get(slot);
    if (!kept || kept === drawn) return;
    drawn = kept;
    pick.setAttribute('aria-label', `pick what is in slot ${slot}: ${kept.name}`);
    pick.title = kept.name;
    void drawing.draw(kept.latent);
  });
  return el('div', { class: 'slot' }, pick, put);
}

/** The visitor's own picture beside what the model makes of it. */
export function showOriginal(studio: Studio, picture: Float32Array, name: string): void {
  const canvas = canvasFor(studio.site.model.image, `your picture ${name}, as the model sees it`);
  show(canvas, picture, studio.site.model.image);
  byId('caption').after(el('figure', { id: 'original' }, canvas, el('figcaption', {}, `${name}, as the model sees it. It stays on this device.`)));
}

async function share(studio: Studio): Promise<void> {
  history.replaceState(null, '', IN_ADDRESS + toText(studio.latent));
  try {
    await navigator.clipboard.writeText(location.href);
    announce('The link to this picture is copied.');
  } catch {
    announce('The link to this picture is in the address bar.');
  }
}

/** Picks what a link names, if it names something. */
export function fromAddress(studio: Studio): boolean {
  if (!location.hash.startsWith(IN_ADDRESS)) return false;
  const latent = fromText(location.hash.slice(IN_ADDRESS.length), studio.site.length);
  isReading = true;
  if (latent) studio.pick({ latent, name: 'from the link' });
  isReading = false;
  if (!latent) studio.fail(new Error('The link does not belong to this model.'));
  return latent !== null;
}

import './style.css';
import { moved } from './latents';
import { byId, el, spaced } from './dom';
import { Engine } from './engine';
import { map } from './map';
import { neighbors } from './neighbors';
import { opened } from './photo';
import { samples } from './samples';
import { Site } from './site';
import { sliders } from './sliders';
import { fromAddress, showOriginal, stage } from './stage';
import { type Named, SLOTS, Studio } from './studio';
import { sums } from './sums';
import { tabs } from './tabs';
import { theme } from './theme';
import { training } from './training';
import { walk } from './walk';

function fail(error: unknown): void {
  const words = error instanceof Error ? error.message : String(error);
  byId('trouble').replaceChildren(
    el('p', {}, words),
    el('button', { type: 'button', onclick: () => byId('trouble').replaceChildren() }, 'Dismiss'),
  );
}

let taken = 0;

async function encodePhoto(studio: Studio, file: File): Promise<void> {
  const number = ++taken;
  try {
    const image = await opened(file, studio.site.model.image);
    const copy = image.slice();
    const latent = await studio.engine.encode(image);
    if (number !== taken) return; // another one came meanwhile
    studio.pick({ latent, name: file.name });
    showOriginal(studio, copy, file.name);
    byId('trouble').replaceChildren();
  } catch (error) {
    fail(error);
  }
}

/** A picture dropped anywhere, pasted, or chosen. */
function photos(studio: Studio): void {
  const input = byId<HTMLInputElement>('photo');
  const first = (files: FileList | null | undefined): void => {
    const some = [...(files ?? [])];
    const file = some.find(({ type }) => type.startsWith('image/')) ?? some[0];
    if (file) void encodePhoto(studio, file);
  };
  input.disabled = false;
  input.addEventListener('change', () => {
    first(input.files);
    input.value = ''; // the same file may be chosen again
  });
  document.addEventListener('paste', (event) => first(event.clipboardData?.files));
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  document.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) document.body.classList.remove('dropping');
  });
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    first(event.dataTransfer?.files);
  });
}

async function start(): Promise<void> {
  theme(byId<HTMLSelectElement>('theme'));
  if (typeof WebAssembly !== 'object') {
    throw new Error('This browser has no WebAssembly, in which the model computes; a current Firefox, Chrome, Safari or Edge has.');
  }
  const site = await Site.load();
  const { facts, model } = site;
  document.title = `${facts.title}, vaekit explorer`;
  byId('title').textContent = facts.title;
  byId('about').textContent = `${facts.recipe}, ${model.image.width} × ${model.image.height} pixels, ${model.codes ? `${model.codes.rows} × ${model.codes.columns} codes` : `${model.latent_dim} latents`}${facts.verdict ? `, ${facts.verdict.name}` : ''}`;
  const studio = new Studio(site, new Engine(model), fail);
  stage(studio);
  sliders(studio);
  photos(studio);
  byId('tabs').append(
    tabs({
      Samples: () => samples(studio),
      Map: () => map(studio),
      ...(model.codes ? {} : { Walk: () => walk(studio), Sums: () => sums(studio) }),
      Neighbors: () => neighbors(studio),
      Training: () => training(facts),
    }),
  );
  // The first samples are what the page begins with; where none can be drawn, images: all else works without a prior.
  const seeds = [0, 1, 2, 3];
  const [picked, ...drawn] = await site.draw(seeds, studio.engine).catch((error: unknown) => {
    fail(error);
    return site.anyImages(seeds);
  });
  const beginning = firstSlots(site, drawn);
  SLOTS.forEach((slot, i) => studio.put(slot, beginning[i]));
  if (!fromAddress(studio)) studio.pick(picked);
  document.body.dataset.state = 'ready';
  byId('foot').textContent = `Computed on this device, with ${studio.engine.threads === 1 ? 'one thread' : `${studio.engine.threads} threads`}; nothing is uploaded. Made with ${facts.of.made_by}.`;
}

/** One with the attribute that is told best, the same without it, and another to add it to; else any three. */
function firstSlots(site: Site, [first, second, third]: Named[]): Named[] {
  const plain = Object.entries(site.model.directions).filter(([name]) => !name.includes('='));
  const [best] = plain.sort(([, a], [, b]) => (b.accuracy ?? 0) - (a.accuracy ?? 0));
  if (!best || site.facts.classes.includes(best[0])) return [first, second, third];
  return [{ latent: moved(first.latent, [[1, best[1].vector]]), name: `${first.name} + ${spaced(best[0])}` }, first, second];
}

start().catch((error: unknown) => {
  document.body.dataset.state = 'failed';
  fail(error);
});

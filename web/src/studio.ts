/** What all parts of the page share: the site, the engine, the picked latent with its edits, and three slots. */

import { type Latent, moved } from './latents';
import { spaced } from './dom';
import type { Engine } from './engine';
import { show } from './picture';
import type { Site } from './site';

export type Slot = 'A' | 'B' | 'C';
export const SLOTS: Slot[] = ['A', 'B', 'C'];

/** A latent, and what it is called. */
export interface Named {
  latent: Latent;
  name: string;
}

/** Keeps one canvas up to date: asked while it draws, it draws the newest latent next and leaves out those between. */
export class Drawing {
  private next: Latent | null = null;
  private isBusy = false;

  constructor(
    private readonly studio: Studio,
    readonly canvas: HTMLCanvasElement,
  ) {}

  async draw(latent: Latent): Promise<void> {
    this.next = latent;
    if (this.isBusy) return;
    this.isBusy = true;
    this.canvas.dataset.busy = '';
    try {
      while (this.next) {
        const now = this.next;
        this.next = null;
        const [picture] = await this.studio.engine.decode([now]);
        show(this.canvas, picture, this.studio.site.model.image);
        this.canvas.dataset.drawn = String(Number(this.canvas.dataset.drawn ?? 0) + 1);
      }
    } catch (error) {
      this.studio.fail(error);
    } finally {
      this.isBusy = false;
      delete this.canvas.dataset.busy;
    }
  }
}

export class Studio extends EventTarget {
  /** Slider → how far it is moved, and along what. */
  readonly moves = new Map<string, readonly [number, ArrayLike<number>]>();
  readonly slots = new Map<Slot, Named>();
  picked: Named;

  constructor(
    readonly site: Site,
    readonly engine: Engine,
    readonly fail: (error: unknown) => void,
  ) {
    super();
    this.picked = site.model.codes ? { latent: site.latent(0), name: site.nameOf(0) } : { latent: Float32Array.from(site.facts.mean), name: 'mean' };
  }

  /** The picked latent with its edits. */
  get latent(): Latent {
    return moved(this.picked.latent, this.moves.values());
  }

  /** What is seen is called: the picked one's name, and what was done to it. */
  get name(): string {
    const done = [...this.moves].map(([name, [weight]]) => `${weight < 0 ? '−' : '+'} ${Math.abs(weight)} ${spaced(name)}`);
    return [this.picked.name, ...done].join(' ');
  }

  pick(picked: Named): void {
    this.picked = picked;
    this.moves.clear();
    this.changed('picked');
  }

  move(name: string, weight: number, step: ArrayLike<number>): void {
    if (weight) this.moves.set(name, [weight, step]);
    else this.moves.delete(name);
    this.changed('moved');
  }

  put(slot: Slot, named: Named): void {
    this.slots.set(slot, named);
    this.changed('slots');
  }

  /** `picked`: another latent; `moved`: the same, edited otherwise; `slots`. */
  on(kinds: string[], work: () => void): void {
    for (const kind of kinds) this.addEventListener(kind, work);
  }

  private changed(kind: string): void {
    this.dispatchEvent(new Event(kind));
  }
}

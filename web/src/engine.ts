/** Asks the worker, and keeps count of who waits for what. */

import type { Latent } from './latents';
import type { Model } from './site';
import type { Answer, Request, Start } from './worker';

const MOST_THREADS = 4;

export class Engine {
  private readonly worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  private readonly waiting = new Map<number, { resolve: (data: Float32Array) => void; reject: (error: Error) => void }>();
  private asked = 0;
  private broken: Error | null = null;
  /** Threads need memory that they share, which needs the headers of `vaekit explore` (or of a host that sends them). */
  readonly threads = crossOriginIsolated ? Math.min(MOST_THREADS, Math.max(1, navigator.hardwareConcurrency)) : 1;

  /** Its latents are noise, which its prior maps to the input of the decoder: finer levels follow from the levels above. */
  private readonly isHierarchy: boolean;

  constructor(private readonly model: Model) {
    this.isHierarchy = Boolean(model.prior?.network && !model.prior.factor.length);
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      const found = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.data) found?.resolve(data.data);
      else found?.reject(new Error(data.error));
    };
    this.worker.onerror = (event) => {
      this.broken = new Error(event.message || 'what computes could not be started; reload the page');
      for (const { reject } of this.waiting.values()) reject(this.broken);
      this.waiting.clear();
    };
    const start: Start = { folder: new URL('.', location.href).href, threads: this.threads, latents: model.codes ? 'codes' : this.isHierarchy ? 'noise' : 'latent' };
    this.worker.postMessage(start);
  }

  /** The pictures of latents, float [N, C, H, W] in [0, 1], each on its own. */
  async decode(latents: Latent[]): Promise<Float32Array[]> {
    const { codes, latent_dim } = this.model;
    const shape = codes ? [codes.rows, codes.columns] : [latent_dim];
    const given = this.isHierarchy ? await this.draw(latents) : latents;
    const length = given[0].length;
    const data = new Float32Array(given.length * length);
    given.forEach((latent, i) => data.set(latent, i * length));
    const made = await this.ask('decoder', data, [latents.length, ...shape]);
    const size = made.length / latents.length;
    return latents.map((_, i) => made.subarray(i * size, (i + 1) * size));
  }

  /** The latent of an image, float [C, H, W] in [0, 1]. */
  encode(image: Float32Array): Promise<Latent> {
    const { channels, height, width } = this.model.image;
    return this.ask('encoder', image, [1, channels, height, width]);
  }

  /** The latents that a prior that is a network makes of noises; a mixture needs a number more than a latent has. */
  async draw(noises: Float32Array[]): Promise<Latent[]> {
    const length = this.model.latent_dim;
    const data = new Float32Array(noises.length * (length + 1));
    noises.forEach((noise, i) => data.set(noise, i * (length + 1)));
    const made = await this.ask('prior', data, [noises.length, length + 1]);
    return noises.map((_, i) => made.slice(i * length, (i + 1) * length));
  }

  private ask(network: Request['network'], data: Float32Array, shape: number[]): Promise<Float32Array> {
    if (this.broken) return Promise.reject(this.broken);
    const id = this.asked++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, network, data, shape } satisfies Request, [data.buffer as ArrayBuffer]);
    });
  }
}

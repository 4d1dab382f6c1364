/** The networks, away from the thread that draws the page. */

import * as ort from 'onnxruntime-web/wasm';

export type Request = { id: number; network: 'encoder' | 'decoder' | 'prior'; data: Float32Array; shape: number[] };
export type Answer = { id: number; data?: Float32Array; error?: string };
export type Start = { folder: string; threads: number; latents: 'latent' | 'noise' | 'codes' };

const INPUTS: Record<Request['network'], string> = { encoder: 'image', decoder: 'latent', prior: 'noise' };
const OUTPUTS: Record<Request['network'], string> = { encoder: 'mean', decoder: 'image', prior: 'latent' };
const CODES = 'codes'; // in place of latents: integers, which the page keeps as floats

let folder = '';
const sessions = new Map<string, Promise<ort.InferenceSession>>();

function session(network: Request['network']): Promise<ort.InferenceSession> {
  let found = sessions.get(network);
  if (!found) {
    found = started(network);
    sessions.set(network, found);
    found.catch(() => sessions.delete(network)); // the next request tries again
  }
  return found;
}

async function started(network: Request['network']): Promise<ort.InferenceSession> {
  try {
    return await ort.InferenceSession.create(`${folder}model/${network}.onnx`, { executionProviders: ['wasm'] });
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).split('\n')[0].slice(0, 160);
    throw new Error(`model/${network}.onnx or what computes it (runtime/) could not be loaded; try again, reload the page, or publish the run again. (${reason})`);
  }
}

async function answer({ id, network, data, shape }: Request): Promise<void> {
  try {
    const found = await session(network);
    const given = INPUTS[network] === CODES ? new ort.Tensor('int64', BigInt64Array.from(data, BigInt), shape) : new ort.Tensor('float32', data, shape);
    const results = await found.run({ [INPUTS[network]]: given });
    const made = Float32Array.from(results[OUTPUTS[network]].data as Float32Array | BigInt64Array, Number);
    postMessage({ id, data: made } satisfies Answer, { transfer: [made.buffer] });
  } catch (error) {
    postMessage({ id, error: error instanceof Error ? error.message : String(error) } satisfies Answer);
  }
}

let queue: Promise<void> = Promise.resolve();

onmessage = ({ data }: MessageEvent<Start | Request>): void => {
  if ('folder' in data) {
    folder = data.folder;
    if (data.latents === CODES) INPUTS.decoder = CODES;
    if (data.latents !== 'latent') OUTPUTS.encoder = data.latents;
    ort.env.wasm.numThreads = data.threads;
    ort.env.wasm.wasmPaths = `${folder}runtime/`;
    ort.env.logLevel = 'error';
  } else {
    queue = queue.then(() => answer(data)); // one at a time: a session does not run twice at once
  }
};

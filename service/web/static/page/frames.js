// Frames of a stack: fetched, decoded, kept within a bound, and fetched ahead in both directions.

import { multipartContent } from "./multipart.js";
import { extremes, NotShown, readSamples } from "./pixels.js";
import { text } from "./text.js";

/**
 * @typedef {import("./stack.js").Slice} Slice
 * @typedef {import("./pixels.js").Samples} Samples
 */

/**
 * @typedef {object} Frame
 * @property {Samples | null} samples  stored values
 * @property {[number, number]} ends  the lowest and the highest of them
 * @property {ImageBitmap | null} picture  what the service rendered, where there are no samples
 * @property {string} refusal  why there is neither
 * @property {number} size  bytes that it holds
 */

const STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1';
const MAX_BYTES = 112 << 20;
const AT_ONCE = 4;
const AHEAD = 150;

export class Frames {
  /** @type {Map<Slice, Frame>} the one used last stands last */
  #kept = new Map();
  /** @type {Map<Slice, Promise<Frame>>} */
  #coming = new Map();
  /** @type {Slice[]} */
  #wanted = [];
  #bytes = 0;
  #ahead = 0;
  #ended = new AbortController();

  /** @param {import("./api.js").Service} service */
  constructor(service) {
    this.service = service;
  }

  /**
   * Returns a frame that is here already.
   * @param {Slice} slice
   */
  peek(slice) {
    const frame = this.#kept.get(slice);
    if (frame) {
      this.#kept.delete(slice);
      this.#kept.set(slice, frame);
    }
    return frame;
  }

  /**
   * Returns a frame. What cannot be had is a frame too, with its reason.
   * @param {Slice} slice
   * @returns {Promise<Frame>}
   */
  get(slice) {
    const here = this.peek(slice);
    if (here) return Promise.resolve(here);
    let coming = this.#coming.get(slice);
    if (!coming) {
      coming = this.#fetch(slice).finally(() => this.#coming.delete(slice));
      this.#coming.set(slice, coming);
    }
    return coming;
  }

  /**
   * Fetches what is near, the nearest first, those ahead before those behind, as far as there is room.
   * @param {Slice[]} slices
   * @param {number} at
   * @param {number} direction  1 or -1
   */
  fetchAround(slices, at, direction) {
    const size = this.peek(slices[at])?.size || 1 << 19;
    const room = Math.min(AHEAD, Math.floor((MAX_BYTES * 0.9) / size));
    this.#wanted = [];
    for (let distance = 1; this.#wanted.length < room && distance < slices.length; distance += 1) {
      for (const next of [at + distance * direction, at - distance * direction]) {
        if (slices[next] && !this.#kept.has(slices[next])) this.#wanted.push(slices[next]);
      }
    }
    this.#fetchWanted();
  }

  /** Stops fetching, and lets go of everything. */
  end() {
    this.#ended.abort();
    this.#wanted = [];
    for (const frame of this.#kept.values()) frame.picture?.close();
    this.#kept.clear();
  }

  #fetchWanted() {
    while (this.#ahead < AT_ONCE && this.#wanted.length) {
      const slice = /** @type {Slice} */ (this.#wanted.shift());
      if (this.#kept.has(slice) || this.#coming.has(slice)) continue;
      this.#ahead += 1;
      this.get(slice).catch(() => undefined).finally(() => {
        this.#ahead -= 1;
        this.#fetchWanted();
      });
    }
  }

  /**
   * @param {Slice} slice
   * @returns {Promise<Frame>}
   */
  async #fetch(slice) {
    const frame = await this.#read(slice).catch((error) => {
      this.#ended.signal.throwIfAborted();
      return blank(error.message || text.notReached);
    });
    this.#ended.signal.throwIfAborted();
    this.#kept.set(slice, frame);
    this.#bytes += frame.size;
    for (const [oldest, held] of this.#kept) {
      if (this.#bytes <= MAX_BYTES || oldest === slice) break;
      this.#kept.delete(oldest);
      this.#bytes -= held.size;
      held.picture?.close();
    }
    return frame;
  }

  /**
   * @param {Slice} slice
   * @returns {Promise<Frame>}
   */
  async #read(slice) {
    const header = await slice.header(); // its reason, where there are no pixels
    if (header.isGrey && slice.place) {
      try {
        return await this.#stored(slice, header);
      } catch (error) {
        if (!(error instanceof NotShown)) throw error;
      }
    }
    const answer = await this.service.ask(slice.pictureAddress(), { accept: "image/png", signal: this.#ended.signal });
    const picture = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none" });
    return { ...blank(""), picture, size: picture.width * picture.height * 4 };
  }

  /**
   * @param {Slice} slice
   * @param {import("./pixels.js").ImageHeader} header
   * @returns {Promise<Frame>}
   */
  async #stored(slice, header) {
    const path = `${this.service.place(/** @type {any} */ (slice.place))}/frames/${slice.frame}`;
    const answer = await this.service.ask(path, { accept: STORED, signal: this.#ended.signal });
    const bytes = multipartContent(await answer.arrayBuffer(), answer.headers.get("Content-Type") ?? "");
    const samples = readSamples(bytes, header);
    return { ...blank(""), samples, ends: extremes(samples), size: samples.byteLength };
  }
}

/**
 * @param {string} refusal
 * @returns {Frame}
 */
const blank = (refusal) => ({ samples: null, ends: [0, 0], picture: null, refusal, size: 0 });

// Frames of a stack: fetched, decoded, kept within a bound, and fetched ahead in both directions. Where the network is slow,
// small lossy pictures are fetched ahead first, so that one can scroll before the frames are there.

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
 * @property {boolean} [isPreview]  whether the picture is smaller than the frame, and only stands for it
 */

const STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1';
const MAX_BYTES = 112 << 20;
const AT_ONCE = 4;
const AHEAD = 150;
/** A browser has six connections: one is left for what is looked at. */
const PREVIEWS_AT_ONCE = 5;
const MAX_PREVIEWS = 2000;
const PREVIEW = "viewport=256,256&quality=70";

export class Frames {
  /** @type {Map<Slice, Frame>} the one used last stands last */
  #kept = new Map();
  /** @type {Map<Slice, Promise<Frame>>} */
  #coming = new Map();
  /** @type {Slice[]} */
  #wanted = [];
  #bytes = 0;
  #ahead = 0;
  /** Whether somebody has waited for a frame, so that previews are worth their while. */
  isSlow = false;
  /** @type {Map<Slice, Promise<Blob | null>>} null where it cannot be had */
  #previews = new Map();
  /** @type {Slice[]} */
  #wantedPreviews = [];
  #previewsComing = 0;
  /** @type {string | null} the window of previews, as a query; null: there are none of it */
  #previewWindow = "";
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
    this.#wantedPreviews = [];
    for (let distance = 1; distance <= AHEAD && distance < slices.length; distance += 1) {
      for (const next of [at + distance * direction, at - distance * direction]) {
        const slice = slices[next];
        if (!slice || this.#kept.has(slice)) continue;
        if (this.#wanted.length < room) this.#wanted.push(slice);
        if (!this.#previews.has(slice)) this.#wantedPreviews.push(slice);
      }
    }
    this.#fetchWanted();
  }

  /**
   * Returns a small picture that stands for a frame until it comes, if there can be one.
   * @param {Slice} slice
   * @returns {Promise<Frame | null>}
   */
  async preview(slice) {
    const blob = this.#previewWindow === null || !slice.place ? null : await this.#previewOf(slice);
    if (!blob) return null;
    const picture = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    return { ...blank(""), picture, isPreview: true };
  }

  /**
   * Has previews of another window from now on.
   * @param {string | null} query  of the window; null: no preview can show it
   */
  usePreviews(query) {
    if (query === this.#previewWindow) return;
    this.#previewWindow = query;
    this.#previews.clear();
    this.#wantedPreviews = [];
  }

  /** Stops fetching, and lets go of everything. */
  end() {
    this.#ended.abort();
    this.#wanted = [];
    this.#wantedPreviews = [];
    this.#previews.clear();
    for (const frame of this.#kept.values()) frame.picture?.close();
    this.#kept.clear();
  }

  #fetchWanted() {
    if (this.isSlow && this.#previewWindow !== null) {
      while (this.#previewsComing < PREVIEWS_AT_ONCE && this.#wantedPreviews.length) {
        const slice = /** @type {Slice} */ (this.#wantedPreviews.shift());
        if (!this.#previews.has(slice) && !this.#kept.has(slice) && slice.place) this.#previewOf(slice);
      }
      // A frame is as large as dozens of previews: it would take the network from them.
      if (this.#previewsComing) return;
    }
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

  /** @param {Slice} slice */
  #previewOf(slice) {
    let coming = this.#previews.get(slice);
    if (!coming) {
      coming = this.#fetchPreview(slice);
      this.#previews.set(slice, coming);
      if (this.#previews.size > MAX_PREVIEWS) this.#previews.delete(/** @type {Slice} */ (this.#previews.keys().next().value));
    }
    return coming;
  }

  /** @param {Slice} slice */
  async #fetchPreview(slice) {
    this.#previewsComing += 1;
    try {
      const address = `${slice.pictureAddress()}?${PREVIEW}${this.#previewWindow}`;
      const answer = await this.service.ask(address, { accept: "image/jpeg", signal: this.#ended.signal });
      return await answer.blob();
    } catch {
      return null; // there is none of it: its frame says why
    } finally {
      this.#previewsComing -= 1;
      if (!this.#ended.signal.aborted) this.#fetchWanted();
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

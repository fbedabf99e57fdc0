// A stack of pictures on a canvas: scrolled, windowed, moved, measured.

import { afterPause, find, make } from "./dom.js";
import { code, textOf } from "./dicomjson.js";
import { Frames } from "./frames.js";
import { aspectOf, barLength, edgeLetters, locationOf, rateOf, spacingOf } from "./geometry.js";
import { paint, toModality } from "./pixels.js";
import { text } from "./text.js";
import { chosenWindow, offeredWindows } from "./windows.js";

/**
 * @typedef {import("./stack.js").Slice} Slice
 * @typedef {import("./frames.js").Frame} Frame
 * @typedef {import("./pixels.js").Shading} Shading
 * @typedef {import("./pixels.js").Voi} Voi
 * @typedef {import("./windows.js").Choice} Choice
 * @typedef {"scroll" | "window" | "pan" | "zoom"} Tool
 */

/** @typedef {{scale: number, aspect: number, left: number, top: number, width: number, height: number}} Placement */
/** @typedef {{slice: Slice, frame: Frame, shading: Shading | null, voi: Voi | null}} Shown  what the canvas holds */

const FROM_FILE = Object.freeze(/** @type {Choice} */ ({ kind: "file", at: 0 }));
const MAX_ZOOM = 64;
export const ZOOM_STEP = 1.25;
const PIXELS_A_SLICE = 12;
/** Milliseconds for which one rests at a picture before more than its preview is fetched. */
const REST_MS = 120;
/** Milliseconds for which a frame is waited for before a preview is asked for. */
const PATIENCE_MS = 150;
/** Milliseconds after which it is said that something is waited for. */
const LOADING_MS = 250;
/** Milliseconds for which nothing is drawn before the picture is drawn as finely as it can be. */
const STILL_MS = 150;

export class Viewer {
  /** @type {Slice[]} */
  slices = [];
  at = 0;
  /** @type {Shown | null} */
  shown = null;

  /** @type {Frames | null} */
  #frames = null;
  #direction = 1;
  /** @type {Choice} */
  #choice = FROM_FILE;
  #inverted = false;
  /** @type {number | null} screen pixels for one of the image; null: as many as fit */
  #scale = null;
  #pan = { x: 0, y: 0 };
  /** @type {Tool | null} null: by the kind of pointer */
  #tool = null;
  #cine = 0;
  /** @type {Map<number, {x: number, y: number}>} */
  #pointers = new Map();
  /** @type {Tool} */
  #drag = "window";
  #dragged = { x: 0, y: 0, rest: 0, center: 0, width: 1 };
  #pointer = { x: -1, y: -1 };
  /** @type {string} what the bitmap was painted of */
  #painted = "";
  #drawing = 0;
  #isStill = true;
  #wheel = 0;
  #number = 0;

  #stage = find("stage", HTMLElement);
  #canvas = find("canvas", HTMLCanvasElement);
  #context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d", { alpha: false }));
  #bitmap = document.createElement("canvas");
  /** @type {ImageData | null} */
  #image = null;
  #slider = find("slice", HTMLInputElement);
  #select = find("voi", HTMLSelectElement);
  #rate = find("rate", HTMLInputElement);
  #renewPreviews = afterPause(300, () => {
    this.#frames?.usePreviews(this.#previewWindow());
    if (this.shown) this.#frames?.fetchAround(this.slices, this.at, this.#direction);
  });
  #drawFinely = afterPause(STILL_MS, () => {
    this.#isStill = true;
    this.#drawNow();
  });
  #announce = afterPause(600, () => {
    find("announcer", HTMLElement).textContent = this.#announcement();
  });

  /** @param {(slice: Slice) => void} onShow  called with each slice that is shown */
  constructor(onShow) {
    this.onShow = onShow;
    new ResizeObserver(() => this.#resize()).observe(this.#stage);
    this.#stage.addEventListener("pointerdown", (event) => this.#press(event));
    this.#stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) {
      this.#stage.addEventListener(name, (event) => this.#release(event));
    }
    this.#stage.addEventListener("pointerleave", () => this.#point(-1, -1));
    this.#stage.addEventListener("wheel", (event) => this.#turn(event), { passive: false });
    this.#stage.addEventListener("contextmenu", (event) => event.preventDefault());
    this.#slider.addEventListener("input", () => this.go(Number(this.#slider.value) - 1));
    this.#select.addEventListener("change", () => this.#choose(JSON.parse(this.#select.value)));
    this.#rate.addEventListener("change", () => this.#cine && this.play(true));
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.addEventListener("click", () => this.useTool(/** @type {any} */ (button).dataset.tool));
    }
  }

  /**
   * Shows a stack, and is done with its first picture.
   * @param {import("./api.js").Service} service
   * @param {Slice[]} slices
   * @param {number} at
   */
  open(service, slices, at) {
    this.close();
    this.#frames = new Frames(service);
    this.slices = slices;
    find("scrubber", HTMLElement).hidden = slices.length < 2;
    this.#slider.max = String(slices.length);
    this.#rate.value = String(rateOf(slices[at]?.dataset ?? {}));
    return this.go(at);
  }

  /**
   * Puts a stack in the place of its first part, without another look at the picture that is shown.
   * @param {Slice[]} slices
   * @param {number} at  where the shown one stands in it
   */
  extend(slices, at) {
    slices[at] = this.slices[this.at] ?? slices[at];
    this.slices = slices;
    this.at = at;
    find("scrubber", HTMLElement).hidden = slices.length < 2;
    this.#slider.max = String(slices.length);
    this.#frames?.fetchAround(slices, at, 1);
    this.#write(this.#placement());
    if (this.shown) this.#tellCanvas(this.shown);
  }

  /** Shows nothing. */
  close() {
    this.play(false);
    this.#frames?.end();
    this.#frames = null;
    this.slices = [];
    this.shown = null;
    this.#painted = "";
    this.#number += 1;
    this.reset();
    delete this.#canvas.dataset.shown;
    this.#say("");
  }

  /**
   * Goes to a picture of the stack.
   * @param {number} at
   */
  async go(at) {
    if (!this.#frames || !this.slices.length) return;
    const wanted = Math.min(Math.max(at, 0), this.slices.length - 1);
    if (wanted !== this.at) this.#direction = wanted > this.at ? 1 : -1;
    this.at = wanted;
    const number = (this.#number += 1);
    const slice = this.slices[wanted];
    const frame = this.#frames.peek(slice) ?? (await this.#waitFor(slice, number));
    if (!frame || number !== this.#number) return;
    const shading = frame.samples ? await slice.shading().catch(() => null) : null;
    if (number !== this.#number) return;
    const isFirst = !this.shown || this.shown.frame.isPreview;
    if (this.shown?.frame.isPreview) this.shown.frame.picture?.close();
    this.shown = { slice, frame, shading, voi: null };
    this.#painted = "";
    this.#say(frame.refusal);
    if (isFirst || this.#select.dataset.of !== this.#offered()) this.#offerWindows();
    this.#stage.dataset.kind = frame.samples ? "grey" : frame.picture ? "picture" : "none";
    this.#draw();
    this.#frames.fetchAround(this.slices, wanted, this.#direction);
    this.onShow(slice);
    this.#announce();
  }

  /**
   * Returns a frame that is not here yet. Where it is waited for, something small stands for it.
   * @param {Slice} slice
   * @param {number} number  of the going
   * @returns {Promise<Frame | null>}  null where somebody has gone on, or it cannot be had
   */
  async #waitFor(slice, number) {
    const frames = /** @type {Frames} */ (this.#frames);
    const waiting = window.setTimeout(() => this.#say(text.loading, true), LOADING_MS);
    try {
      const frame = frames.isSlow ? null : await Promise.race([frames.get(slice), pause(PATIENCE_MS)]);
      if (frame || number !== this.#number) return frame;
      frames.isSlow = true;
      if (await this.#showPreview(slice, number)) {
        clearTimeout(waiting);
        await pause(REST_MS); // who scrolls on does not wait for this one
      }
      return number === this.#number ? await frames.get(slice) : null;
    } catch {
      return null;
    } finally {
      clearTimeout(waiting);
    }
  }

  /**
   * Shows what stands for a frame that is not here yet, if there is something.
   * @param {Slice} slice
   * @param {number} number  of the going
   */
  async #showPreview(slice, number) {
    const frame = await this.#frames?.preview(slice).catch(() => null);
    if (!frame) return false;
    const shading = await slice.shading().catch(() => null);
    if (number !== this.#number) return false;
    if (this.shown?.frame.isPreview) this.shown.frame.picture?.close();
    this.shown = { slice, frame, shading, voi: null };
    this.#painted = "";
    this.#say("");
    this.#draw();
    this.#frames?.fetchAround(this.slices, this.at, this.#direction);
    this.onShow(slice);
    return true;
  }

  /**
   * Goes some pictures on.
   * @param {number} count
   */
  step(count) {
    this.play(false);
    return this.go(this.at + count);
  }

  /**
   * Starts or ends cine.
   * @param {boolean} on
   */
  play(on) {
    clearInterval(this.#cine);
    this.#cine = 0;
    const button = find("play", HTMLButtonElement);
    button.setAttribute("aria-pressed", String(on));
    if (!on) return;
    const rate = Math.min(60, Math.max(1, Number(this.#rate.value) || 10));
    this.#cine = window.setInterval(() => {
      const next = (this.at + 1) % this.slices.length;
      // What is not here yet is waited for, or asked for where nothing fetches it.
      if (this.#frames?.peek(this.slices[next]) || this.shown?.slice === this.slices[this.at]) this.go(next);
    }, 1000 / rate);
  }

  get isPlaying() {
    return this.#cine !== 0;
  }

  /** @param {Tool} tool */
  useTool(tool) {
    this.#tool = tool;
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.tool === tool));
    }
    this.#stage.dataset.tool = tool;
  }

  /**
   * Chooses one of the windows that are offered.
   * @param {number} number  from 1
   */
  useOffered(number) {
    const option = [...this.#select.options].filter((each) => each.value)[number - 1];
    if (!option) return;
    this.#select.value = option.value;
    this.#choose(JSON.parse(option.value));
  }

  /**
   * Moves the window by parts of its width.
   * @param {number} up  of the center
   * @param {number} wider
   */
  shiftWindow(up, wider) {
    const voi = this.#currentWindow();
    if (voi) this.#setWindow(voi.center + up * voi.width, voi.width * wider);
  }

  /** Shows black as white. */
  invert() {
    this.#inverted = !this.#inverted;
    find("invert", HTMLButtonElement).setAttribute("aria-pressed", String(this.#inverted));
    this.#painted = "";
    this.#draw();
  }

  /** Shows the picture as large as fits. */
  fit() {
    this.#scale = null;
    this.#pan = { x: 0, y: 0 };
    this.#draw();
  }

  /** Shows a pixel of the image as one of the screen. */
  actualSize() {
    this.#scale = 1;
    this.#pan = { x: 0, y: 0 };
    this.#draw();
  }

  /**
   * Zooms about the middle, or about a point.
   * @param {number} factor
   * @param {{x: number, y: number}} [about]  in pixels of the stage
   */
  zoom(factor, about = { x: this.#stage.clientWidth / 2, y: this.#stage.clientHeight / 2 }) {
    const before = this.#placement();
    if (!before) return;
    const ratio = devicePixelRatio;
    const scale = Math.min(MAX_ZOOM, Math.max(0.02, before.scale * factor));
    const grown = scale / before.scale;
    const middle = { x: this.#canvas.width / 2, y: this.#canvas.height / 2 };
    this.#pan.x = (about.x * ratio - middle.x) * (1 - grown) + this.#pan.x * grown;
    this.#pan.y = (about.y * ratio - middle.y) * (1 - grown) + this.#pan.y * grown;
    this.#scale = scale;
    this.#draw();
  }

  /**
   * Moves the picture.
   * @param {number} x  in pixels of the stage
   * @param {number} y
   */
  pan(x, y) {
    if (this.#scale === null) this.#scale = this.#placement()?.scale ?? null;
    this.#pan.x += x * devicePixelRatio;
    this.#pan.y += y * devicePixelRatio;
    this.#draw();
  }

  /** Shows the picture as at first. */
  reset() {
    this.#choice = FROM_FILE;
    this.#scale = null;
    this.#pan = { x: 0, y: 0 };
    if (this.#inverted) this.invert();
    this.#painted = "";
    this.#showChoice();
    this.#draw();
    this.#renewPreviews();
  }

  /** Shows or hides the texts over the picture. */
  toggleTexts() {
    const hidden = this.#stage.classList.toggle("bare");
    find("texts", HTMLButtonElement).setAttribute("aria-pressed", String(!hidden));
  }

  /** Fills the screen, or no longer. */
  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else find("viewer", HTMLElement).requestFullscreen?.().catch(() => undefined);
  }

  // --- windows ----------------------------------------------------------------------------------------------------

  #offered() {
    const { shading, slice } = this.shown ?? {};
    return JSON.stringify(offeredWindows(shading ?? null, code(slice?.dataset, "Modality")));
  }

  #offerWindows() {
    const { shading, slice } = this.shown ?? {};
    this.#select.dataset.of = this.#offered();
    const groups = offeredWindows(shading ?? null, code(slice?.dataset, "Modality")).map(({ label, choices }) => {
      const group = make("optgroup");
      group.label = label;
      for (const each of choices) group.append(new Option(each.label, JSON.stringify(each.choice)));
      return group;
    });
    const byHand = new Option(text.byHand, "");
    byHand.hidden = true;
    this.#select.replaceChildren(byHand, ...groups);
    this.#select.disabled = !shading;
    this.#showChoice();
  }

  #showChoice() {
    // A file without a window of its own is shown by its whole range.
    const isMade = this.#choice.kind === "file" && !this.shown?.shading?.vois.length;
    const chosen = JSON.stringify(isMade ? { kind: "range" } : this.#choice);
    const isThere = [...this.#select.options].some((option) => option.value === chosen);
    this.#select.value = isThere ? chosen : "";
  }

  /** @param {Choice} choice */
  #choose(choice) {
    this.#choice = choice;
    this.#painted = "";
    this.#draw();
    this.#announce();
    this.#renewPreviews();
  }

  /** Returns the query that renders a preview in the window of the choice; null where none does. */
  #previewWindow() {
    if (this.#choice.kind === "file" && this.#choice.at === 0) return "";
    const voi = this.#choice.kind === "window" || this.#choice.kind === "file" ? this.#currentWindow() : null;
    if (!voi || voi.lut) return null;
    return `&window=${voi.center},${voi.width},${voi.function.toLowerCase().replace("_", "-")}`;
  }

  #currentWindow() {
    const { shading, frame } = this.shown ?? {};
    if (!shading || !frame) return null;
    const voi = chosenWindow(this.#choice, frame, shading);
    if (!voi.lut) return voi;
    const [low, high] = frame.ends.map((each) => toModality(each, shading));
    return { ...voi, center: (low + high) / 2, width: Math.abs(high - low) + 1 };
  }

  /**
   * @param {number} center
   * @param {number} width
   */
  #setWindow(center, width) {
    const fine = width < 20;
    const rounded = (/** @type {number} */ value) => (fine ? Number(value.toPrecision(4)) : Math.round(value));
    this.#choose({ kind: "window", center: rounded(center), width: Math.max(fine ? 1e-4 : 1, rounded(width)) });
    this.#showChoice();
  }

  // --- drawing ----------------------------------------------------------------------------------------------------

  #resize() {
    const { clientWidth, clientHeight } = this.#stage;
    this.#canvas.width = Math.round(clientWidth * devicePixelRatio);
    this.#canvas.height = Math.round(clientHeight * devicePixelRatio);
    this.#drawNow();
  }

  /** Draws at the next turn of the screen; finely once nothing moves any more, because that takes much longer. */
  #draw() {
    this.#isStill = false;
    this.#drawing ||= requestAnimationFrame(() => {
      this.#drawing = 0;
      this.#drawNow();
      this.#drawFinely();
    });
  }

  #drawNow() {
    const { width, height } = this.#canvas;
    this.#context.fillStyle = "#000";
    this.#context.fillRect(0, 0, width, height);
    const place = this.#placement();
    const shown = this.shown;
    if (!place || !shown) {
      this.#write(place);
      return;
    }
    this.#paintBitmap(shown);
    const context = this.#context;
    context.imageSmoothingEnabled = place.scale !== 1 || place.aspect !== 1;
    context.imageSmoothingQuality = this.#isStill && !shown.frame.isPreview ? "high" : "low";
    context.filter = this.#inverted && shown.frame.picture ? "invert(1)" : "none";
    context.drawImage(this.#bitmap, place.left, place.top, place.width, place.height);
    context.filter = "none";
    this.#tellCanvas(shown);
    this.#write(place);
  }

  /**
   * Writes beside the canvas what it shows.
   * @param {Shown} shown
   */
  #tellCanvas({ slice, frame, voi }) {
    const { dataset } = this.#canvas;
    if (frame.isPreview) delete dataset.shown;
    else dataset.shown = `${slice.place?.instance ?? slice.file}/${slice.frame}`;
    dataset.drawn = this.#isStill ? "finely" : "coarsely";
    if (dataset.at !== String(this.at + 1)) dataset.at = String(this.at + 1);
    dataset.window = voi && !voi.lut ? `${voi.center},${voi.width}` : "";
  }

  /** @param {Shown} shown */
  #paintBitmap(shown) {
    const { frame, shading } = shown;
    const key = `${JSON.stringify(this.#choice)} ${this.#inverted}`;
    if (this.#painted === key) return;
    this.#painted = key;
    const context = /** @type {CanvasRenderingContext2D} */ (this.#bitmap.getContext("2d"));
    if (frame.picture) {
      this.#bitmap.width = frame.picture.width;
      this.#bitmap.height = frame.picture.height;
      context.drawImage(frame.picture, 0, 0);
      const hasWindow = this.#choice.kind === "window" || shading?.vois.length;
      if (frame.isPreview && shading && hasWindow) shown.voi = chosenWindow(this.#choice, frame, shading);
    } else if (frame.samples && shading) {
      const { width, height } = this.#size(shown);
      if (this.#bitmap.width !== width || this.#bitmap.height !== height) {
        this.#bitmap.width = width;
        this.#bitmap.height = height;
      }
      // One is enough for all pictures of a size: made for each, they would fill the memory before they are collected.
      if (this.#image?.width !== width || this.#image.height !== height) this.#image = new ImageData(width, height);
      shown.voi = chosenWindow(this.#choice, frame, shading);
      paint(frame.samples, frame.ends, shading, shown.voi, this.#inverted, new Uint32Array(this.#image.data.buffer));
      context.putImageData(this.#image, 0, 0);
    }
  }

  /** @param {Shown} shown */
  #size({ frame, slice }) {
    if (frame.picture && !frame.isPreview) return { width: frame.picture.width, height: frame.picture.height };
    const { Rows, Columns } = { Rows: slice.dataset["00280010"], Columns: slice.dataset["00280011"] };
    return { width: Number(Columns?.Value?.[0] ?? 0), height: Number(Rows?.Value?.[0] ?? 0) };
  }

  /**
   * Returns where the picture lies on the canvas, in the pixels of the screen.
   * @returns {Placement | null}
   */
  #placement() {
    if (!this.shown || (!this.shown.frame.samples && !this.shown.frame.picture)) return null;
    const { width, height } = this.#size(this.shown);
    const aspect = this.#scale === 1 ? 1 : aspectOf(this.shown.slice.dataset, this.shown.slice.frame);
    const fitting = Math.min(this.#canvas.width / width, this.#canvas.height / (height * aspect));
    const scale = this.#scale ?? fitting;
    const [across, down] = [width * scale, height * scale * aspect];
    return {
      scale,
      aspect,
      left: Math.round((this.#canvas.width - across) / 2 + this.#pan.x),
      top: Math.round((this.#canvas.height - down) / 2 + this.#pan.y),
      width: across,
      height: down,
    };
  }

  // --- texts ------------------------------------------------------------------------------------------------------

  /**
   * Writes what stands over and beneath the picture.
   * @param {Placement | null} place
   */
  #write(place) {
    const shown = this.shown;
    const slice = shown?.slice;
    const dataset = slice?.dataset ?? {};
    fill("corner-patient", [textOf(dataset, "PatientName"), textOf(dataset, "PatientID")]);
    const [number, description] = [textOf(dataset, "SeriesNumber"), textOf(dataset, "SeriesDescription")];
    fill("corner-series", [
      description ? [number && `${number}.`, description].filter(Boolean).join(" ") : number && text.untitled(number),
      [code(dataset, "Modality"), text.date(textOf(dataset, "StudyDate"))].filter(Boolean).join(" · "),
    ]);
    fill("corner-slice", slice ? this.#whereInStack(slice) : []);
    const voi = shown?.voi;
    fill("corner-window", [
      voi ? (voi.lut ? voi.label || text.table(1) : text.window(voi.center, voi.width)) : "",
      place ? text.zoom(place.scale / devicePixelRatio) : "",
    ]);
    this.#slider.value = String(this.at + 1);
    this.#slider.setAttribute("aria-valuetext", text.sliceOf(this.at + 1, this.slices.length));
    put("slice-number", slice ? text.ofCount(this.at + 1, this.slices.length) : "");
    const letters = slice && edgeLetters(dataset, slice.frame);
    for (const side of /** @type {const} */ (["left", "right", "top", "bottom"])) {
      put(`letter-${side}`, letters ? letters[side] : "");
    }
    this.#measure(place);
    this.#tellValue();
  }

  /** @param {Slice} slice */
  #whereInStack(slice) {
    const location = locationOf(slice.dataset, slice.frame);
    return [
      text.sliceOf(this.at + 1, this.slices.length),
      slice.frames > 1 ? text.frameOf(slice.frame, slice.frames) : "",
      location === null ? "" : `${location.toFixed(1)} mm`,
    ];
  }

  /** @param {Placement | null} place */
  #measure(place) {
    const bar = find("scale-bar", HTMLElement);
    const spacing = place && this.shown && spacingOf(this.shown.slice.dataset, this.shown.slice.frame);
    bar.hidden = !spacing;
    if (!place || !spacing) return;
    const pixelsOfMillimetre = place.scale / devicePixelRatio / spacing.across;
    const length = barLength((this.#canvas.width / devicePixelRatio) * 0.3 / pixelsOfMillimetre);
    bar.style.width = `${length * pixelsOfMillimetre}px`;
    put("scale-bar", `${text.length(length)}${spacing.atDetector ? ` ${text.atDetector}` : ""}`);
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  #point(x, y) {
    this.#pointer = { x, y };
    this.#tellValue();
  }

  #tellValue() {
    put("value", this.#valueAt(this.#pointer.x, this.#pointer.y));
  }

  /**
   * Returns what is said of the pixel under a point of the stage.
   * @param {number} x
   * @param {number} y
   */
  #valueAt(x, y) {
    const place = this.#placement();
    const shown = this.shown;
    if (!place || !shown || x < 0) return "";
    const { width, height } = this.#size(shown);
    const column = Math.floor(((x * devicePixelRatio - place.left) / place.width) * width);
    const row = Math.floor(((y * devicePixelRatio - place.top) / place.height) * height);
    if (column < 0 || row < 0 || column >= width || row >= height) return "";
    const { samples, picture } = shown.frame;
    let value = "";
    if (samples && shown.shading) {
      const number = toModality(samples[row * width + column], shown.shading);
      value = `${text.number(number)}${shown.shading.unit ? ` ${shown.shading.unit}` : ""}`;
    } else if (picture && !shown.frame.isPreview) {
      const context = /** @type {CanvasRenderingContext2D} */ (this.#bitmap.getContext("2d"));
      const [red, green, blue] = context.getImageData(column, row, 1, 1).data;
      value = red === green && green === blue ? `${red}` : `${red}, ${green}, ${blue}`;
    }
    return value ? `${column}, ${row}: ${value}` : "";
  }

  /**
   * @param {string} sentence
   * @param {boolean} [passing]  it does not replace the picture
   */
  #say(sentence, passing = false) {
    const message = find("stage-message", HTMLElement);
    message.textContent = sentence;
    message.hidden = !sentence;
    message.classList.toggle("passing", passing);
  }

  #announcement() {
    if (!this.shown) return "";
    const { frame, voi } = this.shown;
    const said = [text.sliceOf(this.at + 1, this.slices.length)];
    if (voi && !voi.lut) said.push(text.window(voi.center, voi.width));
    if (frame.refusal) said.push(frame.refusal);
    return said.join(", ");
  }

  // --- pointers ---------------------------------------------------------------------------------------------------

  /** @param {PointerEvent} event */
  #press(event) {
    if (/** @type {Element} */ (event.target).closest("button")) return;
    this.#stage.focus({ preventScroll: true });
    this.#stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.#drag = this.#toolOf(event);
    const voi = this.#currentWindow();
    this.#dragged = { x: 0, y: 0, rest: 0, center: voi?.center ?? 0, width: voi?.width ?? 1 };
    if (event.button !== 0) event.preventDefault();
  }

  /**
   * @param {PointerEvent} event
   * @returns {Tool}
   */
  #toolOf(event) {
    if (event.button === 1 || event.shiftKey) return "pan";
    if (event.button === 2 || event.ctrlKey) return "zoom";
    return this.#tool ?? (event.pointerType === "touch" ? "scroll" : "window");
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const box = this.#stage.getBoundingClientRect();
    const now = { x: event.clientX - box.left, y: event.clientY - box.top };
    const before = this.#pointers.get(event.pointerId);
    if (!before) {
      this.#point(now.x, now.y);
      return;
    }
    const [first, second] = [...this.#pointers.keys()];
    const other = this.#pointers.get(event.pointerId === first ? second : first);
    this.#pointers.set(event.pointerId, now);
    const moved = { x: now.x - before.x, y: now.y - before.y };
    if (other) {
      const [far, was] = [Math.hypot(now.x - other.x, now.y - other.y), Math.hypot(before.x - other.x, before.y - other.y)];
      this.pan(moved.x / 2, moved.y / 2);
      if (was > 0) this.zoom(far / was, { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
      return;
    }
    this.#point(now.x, now.y);
    this.#dragged.x += moved.x;
    this.#dragged.y += moved.y;
    switch (this.#drag) {
      case "pan":
        this.pan(moved.x, moved.y);
        break;
      case "zoom":
        this.zoom(Math.exp(-moved.y / 150));
        break;
      case "scroll":
        this.#scroll(moved.y);
        break;
      default: {
        // Right is wider, up is brighter: a lower center.
        const { x, y, center, width } = this.#dragged;
        if (this.#currentWindow()) this.#setWindow(center + (y * width) / 300, width * Math.exp(x / 300));
      }
    }
  }

  /** @param {number} moved */
  #scroll(moved) {
    this.#dragged.rest += moved;
    const steps = Math.trunc(this.#dragged.rest / PIXELS_A_SLICE);
    if (!steps) return;
    this.#dragged.rest -= steps * PIXELS_A_SLICE;
    this.step(steps);
  }

  /** @param {PointerEvent} event */
  #release(event) {
    this.#pointers.delete(event.pointerId);
  }

  /** @param {WheelEvent} event */
  #turn(event) {
    event.preventDefault();
    if (event.ctrlKey) {
      this.zoom(Math.exp(-event.deltaY / 300), { x: event.offsetX, y: event.offsetY });
      return;
    }
    // A notch is a slice; of a touchpad's small steps it takes as many as make one.
    this.#wheel += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY / 40 : Math.sign(event.deltaY);
    const notched = Math.abs(event.deltaY) >= 40 || event.deltaMode !== WheelEvent.DOM_DELTA_PIXEL;
    const steps = notched ? Math.sign(event.deltaY) : Math.trunc(this.#wheel);
    if (notched || steps) this.#wheel = 0;
    if (steps) this.step(steps);
  }
}

/**
 * @param {number} milliseconds
 * @returns {Promise<null>}
 */
const pause = (milliseconds) => new Promise((resolve) => setTimeout(() => resolve(null), milliseconds));

/**
 * Puts a text in, unless it is there: what is written anew is laid out and drawn anew.
 * @param {string} id
 * @param {string} written
 */
function put(id, written) {
  const element = find(id, HTMLElement);
  if (element.textContent !== written) element.textContent = written;
}

/**
 * Puts lines in, unless they are there.
 * @param {string} id
 * @param {string[]} lines
 */
function fill(id, lines) {
  const wanted = lines.filter(Boolean);
  const element = find(id, HTMLElement);
  const there = [...element.children].map((each) => each.textContent);
  if (there.length === wanted.length && wanted.every((line, at) => line === there[at])) return;
  element.replaceChildren(...wanted.map((line) => make("span", "", line)));
}

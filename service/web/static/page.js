// The page of one person's files: who asks, what the address names, and what is shown of it.

import { Refusal, Service, askForToken } from "./page/api.js";
import { download, remove } from "./page/actions.js";
import { NOWHERE, readAddress, writeAddress } from "./page/address.js";
import { textOf } from "./page/dicomjson.js";
import { afterPause, find } from "./page/dom.js";
import { Guest } from "./page/guest.js";
import { listenForKeys } from "./page/keys.js";
import { Library } from "./page/library.js";
import { listenForMenus } from "./page/menus.js";
import { Search } from "./page/search.js";
import { Shares } from "./page/shares.js";
import { Sharing } from "./page/sharing.js";
import { readFile, readInstance, readSeries } from "./page/stack.js";
import { Tags } from "./page/tags.js";
import { text } from "./page/text.js";
import { chosenFiles, droppedFiles, Uploads } from "./page/upload.js";
import { Viewer } from "./page/viewer.js";
import { putWords } from "./page/words.js";

/**
 * @typedef {import("./page/address.js").Place} Place
 * @typedef {import("./page/stack.js").Slice} Slice
 */

/** Whether somebody came by a link, and has no token of the patient's. */
const isGuest = location.pathname === "/s";
/** @type {Service | null} */
let service = null;
/** @type {Service | null} where files go that are dropped: the patient's own, or an inbox */
let sink = null;
/** @type {Place} */
let place = { ...NOWHERE };
/** The list of the patient's studies, which a picture need not wait for. */
let listed = Promise.resolve();
/** Lets the list go on with what is not needed to look at the pictures. */
let release = () => {};
/** The address as it was followed, or written, last. */
let address = "";
/** @type {Slice | null} */
let current = null;
let opening = new AbortController();
/** What is under way since somebody went to an address, or signed in. */
let visit = new AbortController();

putWords();

const viewer = new Viewer(onShow);
const tags = new Tags();
const library = new Library(tellError);
const search = new Search(go, tell, tellError);
const uploads = new Uploads(refresh);
const sharing = new Sharing(() => shares.renew());
const shares = new Shares(library, go, refresh);
const guest = new Guest(openSession, closeSession, tellError);

// --- saying -------------------------------------------------------------------------------------------------------

/**
 * @param {string} sentence
 * @param {boolean} [bad]
 */
function tell(sentence, bad = false) {
  const notice = find("notice", HTMLElement);
  notice.textContent = sentence;
  notice.classList.toggle("bad", bad);
  notice.hidden = !sentence;
}

/** @param {unknown} error */
function tellError(error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  if (isGuest && error instanceof Refusal && error.status === 401) return; // the guest is told how to go on
  const isOurs = error instanceof Refusal;
  if (!isOurs) console.error(error);
  tell(isOurs ? error.message : text.notReached, true);
}

/**
 * @template {any[]} T
 * @param {(...given: T) => Promise<unknown>} work
 * @returns {(...given: T) => void}
 */
const telling = (work) => (...given) => {
  work(...given).catch(tellError);
};

// --- who ----------------------------------------------------------------------------------------------------------

/** Returns the signal of a visit that begins. The one before, whose answers may come later, changes nothing any more. */
function beginVisit() {
  visit.abort();
  visit = new AbortController();
  return visit.signal;
}

/**
 * Opens a patient's files, if a token for them is to be had.
 * @param {string} patient
 * @param {string} given  a token
 * @param {boolean} isNeeded  whether the list has to be there first
 * @param {AbortSignal} signal  of the visit
 */
async function signIn(patient, given, isNeeded, signal) {
  if (patient !== patient.trim()) throw new Refusal(text.outerSpaces, 422);
  const token = given || (await askForToken(patient));
  signal.throwIfAborted();
  if (!token) {
    find("token-field", HTMLElement).hidden = false;
    find("token", HTMLInputElement).focus();
    throw new Refusal(text.pasteToken, 401);
  }
  await openPatient(new Service(patient, token), isNeeded, signal);
  find("patient", HTMLInputElement).value = patient;
  find("upload-button", HTMLElement).hidden = false;
  find("shares-button", HTMLElement).hidden = false;
  sink = service;
}

/**
 * Opens what a token lets see.
 * @param {Service} next
 * @param {boolean} isNeeded  whether the list has to be there first
 * @param {AbortSignal} signal  of the visit
 */
async function openPatient(next, isNeeded, signal) {
  closePicture();
  if (next.patient !== service?.patient) {
    // Of one patient nothing is shown beside another's files. An upload that runs is not stopped.
    tags.unpin();
    uploads.close();
  }
  const isQuiet = isNeeded ? Promise.resolve() : new Promise((resolve) => {
    release = () => resolve(undefined);
  });
  listed = library.open(next, isQuiet);
  if (isNeeded) await listed; // refuses what the token does not allow, before anything of it is shown
  else listed.catch(tellError);
  signal.throwIfAborted();
  service = next;
  search.open(next);
  tell("");
  find("welcome", HTMLElement).hidden = true;
  find("workplace", HTMLElement).hidden = false;
}

/**
 * Shows what the session of a link lets see, or takes files where it lets send some.
 * @param {import("./page/session.js").Session} session
 */
async function openSession({ token, patient, ends, download: mayDownload, inbox }) {
  const signal = beginVisit();
  const next = new Service(patient, token, () => guest.end());
  document.body.classList.toggle("look-only", !mayDownload);
  if (inbox) {
    sink = next;
    find("inbox-bounds", HTMLElement).textContent = text.guest.sends(inbox.max_files, inbox.max_bytes);
    find("inbox", HTMLElement).hidden = false;
    return;
  }
  const bar = find("guest-bar", HTMLElement);
  bar.textContent = text.guest.sees(mayDownload, text.hour(ends));
  bar.hidden = false;
  const names = readAddress(location.hash);
  const isNamed = names.patient && (names.study || names.file || names.query !== null);
  await openPatient(next, !names.series && !names.file, signal);
  if (!isNamed) {
    const first = await library.first();
    signal.throwIfAborted();
    replacePlace({ ...NOWHERE, patient, ...first });
  }
  await follow();
}

/** Puts away what the session of a link showed. */
function closeSession() {
  visit.abort();
  closePicture();
  tags.unpin();
  uploads.cancel();
  service = null;
  sink = null;
  tell("");
  for (const id of ["workplace", "inbox", "guest-bar"]) find(id, HTMLElement).hidden = true;
  history.replaceState(null, "", location.pathname);
}

// --- what the address names ---------------------------------------------------------------------------------------

/** @param {string} wanted */
function go(wanted) {
  if (location.hash === wanted) telling(follow)();
  else location.hash = wanted;
}

/** Shows what the address names. */
async function follow() {
  const signal = beginVisit();
  address = location.hash;
  const wanted = readAddress(address);
  if (!wanted.patient && !isGuest) {
    find("patient", HTMLInputElement).focus();
    return;
  }
  if (isGuest && service?.patient !== wanted.patient) {
    await guest.enter();
    return;
  }
  if (service?.patient !== wanted.patient) {
    const isNeeded = !wanted.series && !wanted.file;
    await signIn(wanted.patient, find("token", HTMLInputElement).value.trim(), isNeeded, signal);
  }
  if (!service) return;
  // A visit to another patient, given up on the way, may have begun that one's list.
  if (library.service !== service) listed = library.open(service);
  tell("");
  const before = place;
  place = wanted;
  find("hits", HTMLElement).hidden = wanted.query === null;
  find("looking", HTMLElement).hidden = wanted.query !== null;
  document.body.classList.toggle("searching", wanted.query !== null);
  if (wanted.query !== null) {
    viewer.play(false);
    await search.run(wanted.query);
    return;
  }
  if (wanted.study && !wanted.series) wanted.series = library.firstSeries(wanted.study);
  listed.then(() => library.mark(place), () => undefined);
  try {
    if (wanted.file) await openFile(wanted);
    else if (wanted.series) await openSeries(wanted, before);
    else closePicture();
  } finally {
    release();
  }
}

function closePicture() {
  opening.abort();
  current = null;
  viewer.close();
  tags.close();
  document.body.classList.remove("has-picture");
  find("nothing-chosen", HTMLElement).hidden = false;
  find("picture", HTMLElement).hidden = true;
}

function showPicture() {
  document.body.classList.add("has-picture");
  find("nothing-chosen", HTMLElement).hidden = true;
  find("picture", HTMLElement).hidden = false;
}

/** @param {Place} wanted */
async function openFile(wanted) {
  if (!service) return;
  const { signal } = renewed();
  const slices = await readFile(service, wanted.file, signal);
  if (signal.aborted) return;
  forSeries(false);
  showPicture();
  viewer.open(service, slices, Math.max(0, wanted.frame - 1));
}

/**
 * @param {Place} wanted
 * @param {Place} before
 */
async function openSeries(wanted, before) {
  if (!service) return;
  const asked = service;
  const isOpen = viewer.slices.length > 0 && before.query === null && before.study === wanted.study && before.series === wanted.series;
  if (isOpen) {
    const at = indexOf(viewer.slices, wanted);
    if (at >= 0) {
      await viewer.go(at);
      return;
    }
  }
  const { signal } = renewed();
  // One picture at once; what the others of the series are is found out while it comes.
  const first = await readInstance(asked, wanted, signal);
  if (signal.aborted) return;
  const coming = readSeries(asked, wanted, signal);
  coming.catch(() => undefined); // it is waited for below, if somebody still wants it
  forSeries(true);
  showPicture();
  if (first.length) await viewer.open(asked, first, Math.max(0, wanted.instance ? wanted.frame - 1 : 0));
  if (signal.aborted) return;
  const slices = await coming;
  if (signal.aborted) return;
  if (!slices.length) throw new Refusal(text.emptySeries, 404);
  const shown = first[viewer.at];
  const at = indexOf(slices, { ...NOWHERE, instance: shown?.place?.instance ?? wanted.instance, frame: shown?.frame ?? 1 });
  if (first.length && at >= 0) viewer.extend(slices, at);
  else viewer.open(asked, slices, 0);
}

function renewed() {
  opening.abort();
  current = null; // nothing more is to be written or asked of what is shown still
  opening = new AbortController();
  return opening;
}

/**
 * @param {Slice[]} slices
 * @param {Place} wanted
 */
function indexOf(slices, { instance, frame }) {
  if (!instance) return slices.length ? 0 : -1;
  return slices.findIndex((slice) => slice.place?.instance === instance && slice.frame === Math.max(1, frame));
}

/**
 * Returns what is to be shared of what is shown.
 * @param {Slice} slice
 * @param {string} level
 * @returns {import("./page/sharing.js").Subject}
 */
function subjectOf({ place: uids, file, dataset }, level) {
  if (!uids) return { level: "file", name: "", id: file };
  if (level === "study") return { level, name: textOf(dataset, "StudyDescription"), id: uids.study };
  const name = textOf(dataset, "SeriesDescription");
  return level === "series" ? { level, name, id: uids.series } : { level: "image", name, id: uids.instance };
}

/** @param {boolean} isSeries */
function forSeries(isSeries) {
  for (const element of document.querySelectorAll("[data-level=series], [data-level=study]")) {
    /** @type {HTMLElement} */ (element).hidden = !isSeries;
  }
}

/** @param {Place} shown */
function replacePlace(shown) {
  place = shown;
  history.replaceState(null, "", writeAddress(shown));
  address = location.hash;
}

/** Writes the address of what is shown, without a step in the history for each picture. */
const writePlace = afterPause(150, () => {
  // Where somebody has gone to another address meanwhile, that one holds.
  if (!service || !current || place.query !== null || location.hash !== address) return;
  const { frame, file } = current;
  replacePlace({ ...NOWHERE, patient: service.patient, ...(current.place ?? { file }), frame });
  library.mark(place);
});

const showTags = afterPause(180, () => {
  if (!service || !current) return;
  const asked = service;
  const slice = current;
  const name = text.sliceOf(viewer.at + 1, viewer.slices.length);
  tags.open(asked, async (signal) => (slice.place ? (await asked.summaryOf(slice.place, signal)).dicom_id : slice.file), name);
});

/** @param {Slice} slice */
function onShow(slice) {
  current = slice;
  writePlace();
  showTags();
}

/** Lists anew what there is, after uploads and deletes. */
async function refresh() {
  if (!service) return;
  search.forget();
  await library.open(service);
  library.mark(place);
}

// --- what happens when --------------------------------------------------------------------------------------------

find("sign-in", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  const patient = find("patient", HTMLInputElement).value;
  const token = find("token", HTMLInputElement).value.trim();
  tell("");
  telling(async () => {
    await signIn(patient, token, true, beginVisit());
    go(writeAddress({ patient }));
  })();
});
addEventListener("hashchange", telling(follow));

for (const button of document.querySelectorAll("[data-does]")) {
  const { does, level } = /** @type {HTMLElement} */ (button).dataset;
  button.addEventListener("click", telling(async () => {
    button.closest("details")?.removeAttribute("open");
    if (!service || !current) return;
    const target = { study: "", series: "", instance: "", ...current.place, file: current.file };
    const named = /** @type {"image" | "series" | "study"} */ (level);
    if (does !== "delete") {
      tell(text.downloading);
      await download(service, target, named, does === "disc");
      tell("");
    } else if (await remove(service, target, named, tell)) {
      closePicture();
      await refresh();
      replacePlace({ ...NOWHERE, patient: service.patient });
    }
  }));
}

for (const button of document.querySelectorAll("[data-shares]")) {
  button.addEventListener("click", () => {
    find("share-menu", HTMLDetailsElement).open = false;
    if (service && current) sharing.open(service, subjectOf(current, button.getAttribute("data-shares") ?? ""));
  });
}
find("shares-button", HTMLButtonElement).addEventListener("click", () => service && shares.open(service));
find("ask-images", HTMLButtonElement).addEventListener("click", () => service && sharing.open(service, null));

for (const [id, work] of /** @type {[string, () => unknown][]} */ ([
  ["fit", () => viewer.fit()],
  ["actual", () => viewer.actualSize()],
  ["invert", () => viewer.invert()],
  ["reset", () => viewer.reset()],
  ["texts", () => viewer.toggleTexts()],
  ["full", () => viewer.fullScreen()],
  ["previous", () => viewer.step(-1)],
  ["next", () => viewer.step(1)],
  ["play", () => viewer.play(!viewer.isPlaying)],
  ["close-hits", () => history.back()],
])) {
  find(id, HTMLButtonElement).addEventListener("click", work);
}

/** @param {{file: File, path: string}[]} files */
async function upload(files) {
  if (!sink) return;
  if (!files.length) {
    tell(text.nothingToUpload, true);
    return;
  }
  tell("");
  await uploads.send(sink, files, isGuest);
}

for (const id of ["choose-files", "choose-folder", "inbox-files", "inbox-folder"]) {
  const field = find(id, HTMLInputElement);
  field.addEventListener("change", telling(async () => {
    const files = chosenFiles(field.files ?? []);
    field.value = "";
    find("upload-menu", HTMLDetailsElement).open = false;
    await upload(files);
  }));
}

const drop = find("drop", HTMLElement);
addEventListener("dragover", (event) => {
  if (!sink || !event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  drop.hidden = false;
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) drop.hidden = true;
});
addEventListener("drop", telling(async (event) => {
  if (!sink || !event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  drop.hidden = true;
  await upload(await droppedFiles(event.dataTransfer));
}));

listenForKeys({
  viewer,
  search: () => search.focus(),
  tags: () => tags.focus(),
  upload: isGuest ? null : () => {
    if (!service) return;
    find("upload-menu", HTMLDetailsElement).open = true;
    find("choose-files", HTMLInputElement).focus();
  },
  pin: () => tags.pin(),
});
listenForMenus();

document.body.classList.toggle("guest", isGuest);
if (isGuest) telling(() => guest.enter())();
else if (location.hash.length > 1) telling(follow)();
else find("patient", HTMLInputElement).focus();

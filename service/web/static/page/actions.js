// What is done with an image, a series or a study as a whole: downloading, and deleting.

import { find, save } from "./dom.js";
import { text } from "./text.js";

/**
 * @typedef {import("./api.js").Service} Service
 * @typedef {{study: string, series: string, instance: string, file: string}} Target
 * @typedef {"image" | "series" | "study"} Level
 */

const AT_ONCE = 4;

/** A ZIP of files as they were uploaded, byte for byte. */
const ORIGINALS = "application/zip; transfer-syntax=*";
/** A ZIP with a DICOMDIR and an overview, as discs have them (PS3.10). */
export const DISC = "application/zip; media=dicomdir";

/**
 * Saves an image as its file, a series or study as a ZIP of its files or of a disc.
 * @param {Service} service
 * @param {Target} target
 * @param {Level} level
 * @param {boolean} asDisc
 */
export async function download(service, target, level, asDisc) {
  if (level === "image") {
    const { dicom_id: id, file_name: name } = target.file
      ? await service.describe(target.file)
      : await service.summaryOf(target);
    const answer = await service.ask(service.file(id), { accept: "application/dicom" });
    save(await answer.blob(), name);
    return;
  }
  const place = level === "series" ? { study: target.study, series: target.series } : { study: target.study };
  const answer = await service.ask(service.place(place), { accept: asDisc ? DISC : ORIGINALS });
  save(await answer.blob(), asDisc ? text.discName : text.zipNames[level]);
}

/**
 * Asks whether to delete, says what it means, and does it.
 * @param {Service} service
 * @param {Target} target
 * @param {Level} level
 * @param {(sentence: string) => void} tell
 * @returns {Promise<boolean>}  whether something was deleted
 */
export async function remove(service, target, level, tell) {
  const ids = await idsOf(service, target, level);
  const what = level === "series" ? text.thisSeries : level === "study" ? text.thisStudy : target.file ? text.thisFile : text.thisImage;
  if (!(await isSure(text.deleteTitle(what), text.deleteMeaning(ids.length), text.deleteForGood))) return false;
  let done = 0;
  const left = [...ids];
  const work = async () => {
    for (let id = left.pop(); id; id = left.pop()) {
      await service.ask(service.file(id), { method: "DELETE" }).catch((error) => {
        if (error.status !== 404) throw error; // somebody else deleted it
      });
      done += 1;
      tell(text.deleting(done, ids.length));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  tell(text.deleted(done));
  return true;
}

/**
 * Returns the ids of all files of a target: of several with the same UIDs all, also those that are not shown.
 * @param {Service} service
 * @param {Target} target
 * @param {Level} level
 */
async function idsOf(service, { study, series, instance, file }, level) {
  if (file) return [file];
  const query = new URLSearchParams({ StudyInstanceUID: study });
  if (level !== "study") query.set("SeriesInstanceUID", series);
  if (level === "image") query.set("SOPInstanceUID", instance);
  const ids = [];
  for await (const page of service.summaries(query)) ids.push(...page.map(({ dicom_id: id }) => id));
  return ids;
}

/**
 * Asks for a yes.
 * @param {string} title
 * @param {string} meaning
 * @param {string} yes  what the answer is called
 * @returns {Promise<boolean>}
 */
export function isSure(title, meaning, yes) {
  const dialog = find("sure", HTMLDialogElement);
  find("sure-title", HTMLElement).textContent = title;
  find("sure-meaning", HTMLElement).textContent = meaning;
  find("sure-yes", HTMLButtonElement).textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  find("sure-no", HTMLButtonElement).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

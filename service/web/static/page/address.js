// What the address names, after its `#`, which no browser sends to a server:
//   #patient/study/series/instance/frame     what is looked at
//   #patient/<dicom_id>/frame                a file without a place in a study
//   #patient?Modality=CT&fields=KVP          a search

/**
 * @typedef {object} Place
 * @property {string} patient
 * @property {string} study
 * @property {string} series
 * @property {string} instance
 * @property {string} file  a dicom_id
 * @property {number} frame  from 1; 0 where none is named
 * @property {string | null} query  of a search
 */

const DICOM_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** @type {Readonly<Place>} */
export const NOWHERE = Object.freeze({ patient: "", study: "", series: "", instance: "", file: "", frame: 0, query: null });

/**
 * Reads the part of an address that follows the `#`.
 * @param {string} hash
 * @returns {Place}
 */
export function readAddress(hash) {
  const text = hash.replace(/^#/, "");
  const mark = text.indexOf("?");
  const path = mark < 0 ? text : text.slice(0, mark);
  const [patient = "", ...names] = path.split("/").map(decode);
  /** @type {Place} */
  const place = { ...NOWHERE, patient, query: mark < 0 ? null : text.slice(mark + 1) };
  if (DICOM_ID.test(names[0] ?? "")) {
    place.file = names[0];
    place.frame = frameOf(names[1]);
  } else {
    [place.study = "", place.series = "", place.instance = ""] = names;
    place.frame = frameOf(names[3]);
  }
  return place;
}

/**
 * Writes a place as an address.
 * @param {Partial<Place>} place
 */
export function writeAddress(place) {
  const { patient, study, series, instance, file, frame, query } = { ...NOWHERE, ...place };
  /** @type {(string | number)[]} */
  const names = [patient];
  if (file) names.push(file);
  else names.push(...[study, series, instance].filter(Boolean));
  if (frame && (file || instance)) names.push(frame);
  return `#${names.map(encodeURIComponent).join("/")}${query === null ? "" : `?${query}`}`;
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {string | undefined} text */
const frameOf = (text) => (/^[0-9]{1,6}$/.test(text ?? "") ? Number(text) : 0);

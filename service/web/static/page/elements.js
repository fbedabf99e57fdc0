// One element of a file as people read it, and its path as programs want it.

import { personName } from "./dicomjson.js";
import { text } from "./text.js";

/**
 * @typedef {object} Tag  an element as GET …/tags has it
 * @property {string} tag
 * @property {string} group_id
 * @property {string} element_id
 * @property {string | null} keyword
 * @property {string | null} name
 * @property {string} vr
 * @property {any} value
 * @property {string} [creator]
 * @property {number} [length]
 * @property {any} [raw]
 * @property {string} [problem]
 * @property {boolean} [spilled]
 * @property {number} [items]
 */

/** @typedef {{tag: Tag, path: string, text: string}} Flat  an element with its path, and what it is searched by */

/**
 * Returns the name of an element in a path: a private one by its creator, whatever block the file reserved for it.
 * @param {Tag} tag
 */
export function nameOf(tag) {
  if (tag.keyword) return tag.keyword;
  if (!tag.creator) return tag.tag;
  // Escaped as the paths of the service are.
  const creator = encodeURIComponent(tag.creator).replace(/%20/g, " ").replace(/%3A/g, ":")
    .replace(/[.!~*'()]/g, (each) => `%${each.charCodeAt(0).toString(16).toUpperCase()}`);
  return `${creator}:${tag.group_id}xx${tag.element_id.slice(2)}`;
}

/**
 * Lists elements with all that is below them.
 * @param {Tag[]} tags
 * @param {string} [prefix]
 * @returns {Flat[]}
 */
export function flatten(tags, prefix = "") {
  return tags.flatMap((tag) => {
    const path = prefix + nameOf(tag);
    const own = { tag, path, text: searchText(tag, path) };
    if (tag.vr !== "SQ" || !Array.isArray(tag.value)) return [own];
    return [own, ...tag.value.flatMap((item, at) => flatten(item, `${path}[${at}].`))];
  });
}

/**
 * Returns the paths of an element for the API, for a search and for mongosh.
 * @param {string} path
 */
export function pathsFor(path) {
  const steps = path.split(/(?<=\])\./);
  const keys = steps.map((step) => step.replace(/\[(\d+)\]$/, ".Value.$1"));
  const isPrivate = /:[0-9A-F]{4}xx/i.test(path);
  return {
    api: path,
    search: path.replace(/\[\d+\]/g, ""),
    // In the tree a private element stands under the block of its file; the index has it by its creator.
    mongosh: isPrivate ? `"tags.${path.replace(/\[\d+\]\./g, "/")}"` : `"dataset.${keys.join(".")}.Value"`,
  };
}

/**
 * Returns what an element says, as the file has it.
 * @param {Tag} tag
 */
export function rawText(tag) {
  if (tag.vr === "SQ") return tag.spilled ? text.inOriginal : text.itemsOf(tag.value?.length ?? tag.items ?? 0);
  if (tag.length !== undefined) return text.ofData(tag.length);
  if (tag.value === null || tag.value === undefined) return tag.raw === undefined ? "" : String(tag.raw);
  return Array.isArray(tag.value) ? tag.value.map((value) => value ?? "").join(" \\ ") : String(tag.value);
}

/**
 * Returns what an element says, for people: dates, times, ages and names are written out.
 * @param {Tag} tag
 * @param {Readonly<Record<string, string>>} uidNames
 */
export function humanText(tag, uidNames) {
  const raw = rawText(tag);
  if (typeof tag.value !== "string") return raw;
  switch (tag.vr) {
    case "DA":
      return text.date(tag.value);
    case "TM":
      return text.time(tag.value);
    case "DT":
      return dateTime(tag.value);
    case "AS":
      return age(tag.value);
    case "PN":
      return personName(tag.value) || raw;
    case "UI":
      return uidNames[tag.value] ?? raw;
    default:
      return raw;
  }
}

/** @param {string} value */
function dateTime(value) {
  const match = /^(\d{8})(\d{2,6})?(\.\d+)?([+-]\d{4})?$/.exec(value);
  if (!match) return value;
  return [text.date(match[1]), match[2] ? text.time(match[2]) : "", match[4] ?? ""].filter(Boolean).join(" ");
}

/** @param {string} value */
function age(value) {
  const match = /^(\d{3})([YMWD])$/.exec(value);
  return match ? text.counted(Number(match[1]), text.ages[/** @type {"Y"} */ (match[2])]) : value;
}

/**
 * @param {Tag} tag
 * @param {string} path
 */
function searchText(tag, path) {
  const number = `${tag.group_id},${tag.element_id}`;
  return `${path} ${tag.tag} ${number} (${number}) ${tag.name ?? ""} ${tag.creator ?? ""} ${tag.vr === "SQ" ? "" : rawText(tag)} ${tag.problem ?? ""}`.toLowerCase();
}

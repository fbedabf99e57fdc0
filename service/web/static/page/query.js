// A search as one types it, `Modality=CT SliceThickness=..2 PatientName="mül* a*"`, and as others want it written.

/** @typedef {{name: string, value: string, word: string, start: number, end: number}} Condition */

/**
 * @typedef {object} CatalogueRow
 * @property {string} path
 * @property {string[]} vrs
 * @property {number} files
 * @property {any[]} values
 * @property {boolean} more_values
 */

const NUMBERS = new Set(["DS", "IS", "FL", "FD", "SL", "SS", "UL", "US", "SV", "UV"]);
const MOMENTS = new Set(["DA", "TM", "DT"]);
const EXACT = new Set(["UI", "AT"]);
/** Parameters of the service that are no conditions. */
export const OPTIONS = new Set(["fuzzymatching", "emptyvaluematching", "multiplevaluematching"]);

/**
 * Reads what was typed: words with an equals sign, their values in quotes where they have spaces.
 * @param {string} typed
 * @returns {Condition[]}
 */
export function readQuery(typed) {
  return [...typed.matchAll(/(?:[^\s"]|"[^"]*"?)+/g)].map((match) => {
    const [word] = match;
    const equals = word.indexOf("=");
    const quoted = equals < 0 ? "" : word.slice(equals + 1);
    return {
      name: equals < 0 ? word : word.slice(0, equals),
      value: quoted === '""' ? quoted : quoted.replaceAll('"', ""), // `""` asks for what is empty
      word,
      start: match.index,
      end: match.index + word.length,
    };
  });
}

/**
 * Writes conditions as one types them.
 * @param {Iterable<[string, string]>} pairs
 */
export function writeQuery(pairs) {
  return [...pairs].map(([name, value]) => `${name}=${/\s/.test(value) ? `"${value}"` : value}`).join(" ");
}

/**
 * Writes a search for curl.
 * @param {string} address
 * @param {URLSearchParams} query
 */
export function writeCurl(address, query) {
  const parts = [...query].map(([name, value]) => `--data-urlencode ${quoted(`${name}=${value}`)}`);
  return ['curl -s -G -H "access-token: $TOKEN"', ...parts, quoted(address)].join(" ");
}

/**
 * Writes a search for mongosh.
 * @param {string} patient
 * @param {[string, string][]} conditions
 * @param {CatalogueRow[]} catalogue
 * @returns {{line: string, unknown: string}}  the first name that is no path of the patient's, where there is one
 */
export function writeMongosh(patient, conditions, catalogue) {
  const rows = new Map(catalogue.map((row) => [row.path.toLowerCase(), row]));
  /** @type {Map<string, string[]>} */
  const tests = new Map();
  for (const [name, value] of conditions) {
    if (OPTIONS.has(name)) continue;
    const row = rows.get(name.toLowerCase());
    if (!row) return { line: "", unknown: name };
    const test = writeTest(value, row.vrs);
    const key = `tags.${row.path.replaceAll(".", "/")}`;
    if (test) tests.set(key, [...(tests.get(key) ?? []), test]);
  }
  const fields = [...tests].map(([key, each]) =>
    `${JSON.stringify(key)}: ${each.length > 1 ? `{$all: [${each.map((test) => `{$elemMatch: ${test}}`).join(", ")}]}` : elementOf(each[0])}`);
  return { line: `db.tag_index.find({${[`patient_id: ${JSON.stringify(patient)}`, ...fields].join(", ")}})`, unknown: "" };
}

/**
 * Writes what must hold of a value; nothing where anything does.
 * @param {string} value
 * @param {string[]} vrs
 */
function writeTest(value, vrs) {
  if (value === "" || value === "*") return "";
  if (value === "!") return "{$exists: false}";
  if (value === "!!") return "{$exists: true}";
  if (value === '""') return "[]";
  const is = (/** @type {Set<string>} */ kinds) => vrs.some((vr) => kinds.has(vr));
  if (is(NUMBERS)) {
    const [low, high] = value.includes("..") ? value.split("..") : [value, value];
    if (low === high) return Number.isFinite(Number(value)) ? String(Number(value)) : JSON.stringify(value);
    return range(low && `$gte: ${Number(low)}`, high && `$lte: ${Number(high)}`);
  }
  if (is(MOMENTS)) {
    const [low, high] = value.includes("-") ? value.split("-") : [value, value];
    return range(low && `$gte: ${JSON.stringify(low)}`, high && `$lt: ${JSON.stringify(`${high}\uffff`)}`);
  }
  if (is(EXACT) && value.includes(",")) return `{$in: ${JSON.stringify(value.split(","))}}`;
  const isName = vrs.includes("PN");
  if (!isName && !/[*?]/.test(value)) return JSON.stringify(value);
  const pattern = value.replace(/[\\^$.|+()[\]{}]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".");
  return `{$regex: ${JSON.stringify(`^${pattern}$`)}${isName ? ', $options: "i"' : ""}}`;
}

/** @param {...string} ends */
const range = (...ends) => `{${ends.filter(Boolean).join(", ")}}`;

/** @param {string} test */
const elementOf = (test) => (/^\{\$(gte|lte|lt)\b/.test(test) ? `{$elemMatch: ${test}}` : test);

/** @param {string} word */
const quoted = (word) => `'${word.replaceAll("'", "'\\''")}'`;

// Every path that the files of all patients have: how many files, which VRs, the first values, the smallest and the
// greatest. For mongosh:
//
//     mongosh "mongodb://127.0.0.1:27017/dicom" --quiet scripts/catalogue.js
//     mongosh "mongodb://…/dicom" --quiet --eval 'var options = {patient: "p-17", prefix: "Beam"}' scripts/catalogue.js
//
// A line of JSON for each path; how far it is goes to stderr. Of `options` each may be left out:
//
//     patient    the files of this patient alone
//     prefix     the paths that begin like this
//     limit      stop after so many files
//
// It walks tag_index patient by patient and window by window, so that neither a server nor this holds many documents at
// once, and keeps of a path what it prints. The VR is given where the dictionary of PS3.6 does not settle it.

const WINDOW = 1000;
const SHOWN = 20;

const { patient, prefix = "", limit = Infinity } = globalThis.options || {};

function plain(value) {
  if (value === null || typeof value !== "object") return value;
  const number = Number(value.toString()); // Long, Double, Decimal128
  return Number.isSafeInteger(number) || !Number.isInteger(number) ? number : value.toString();
}

function addValues(row, values, vr, cut) {
  row.files += 1;
  row.more ||= cut;
  if (vr) row.vrs.add(vr);
  for (const each of values) {
    const value = plain(each);
    if (value === null) continue; // an empty value among others
    if (row.values.has(value)) continue;
    if (row.values.size < SHOWN) row.values.add(value);
    else row.more = true;
    if (Number.isNaN(value)) continue;
    // Of numbers where there are any, else of texts.
    const isText = typeof value === "string";
    if (row.min === null || (typeof row.min === "string" && !isText)) row.min = row.max = value;
    else if ((typeof row.min === "string") === isText) {
      if (value < row.min) row.min = value;
      if (value > row.max) row.max = value;
    }
  }
}

// The windows of time in which a patient's files came, at most WINDOW in each unless they came at one moment.
function windows(patientId) {
  const dates = db
    .getCollection("originals.files")
    .find({ "metadata.patient_id": patientId }, { uploadDate: 1 })
    .map((file) => file.uploadDate.getTime())
    .toArray()
    .sort((a, b) => a - b);
  const begins = dates.filter((date, number) => number % WINDOW === 0 && date !== dates[number - WINDOW]);
  return begins.map((begin, number) => [begin, begins[number + 1] ?? Infinity]);
}

function readWindow(patientId, begin, end) {
  // A millisecond wider: the local database leaves the very end of a range out where an index is descending.
  const received = { $gte: new Date(begin - 1), ...(end < Infinity && { $lt: new Date(end + 1) }) };
  return db.tag_index
    .find({ patient_id: patientId, received_at: received }, { tags: 1, vrs: 1, truncated: 1, received_at: 1 })
    .toArray()
    .filter(({ received_at: date }) => date.getTime() >= begin && date.getTime() < end);
}

const patients = patient === undefined ? db.getCollection("originals.files").distinct("metadata.patient_id") : [patient];
const rows = new Map();
let files = 0;

function addFile({ tags, vrs, truncated }) {
  files += 1;
  for (const [key, values] of Object.entries(tags)) {
    if (!key.startsWith(prefix)) continue;
    if (!rows.has(key)) {
      rows.set(key, { files: 0, vrs: new Set(), values: new Set(), more: false, min: null, max: null });
    }
    addValues(rows.get(key), values, vrs[key], truncated.includes(key));
  }
}

for (let number = 0; number < patients.length && files < limit; number += 1) {
  for (const [begin, end] of windows(patients[number])) {
    if (files < limit) readWindow(patients[number], begin, end).slice(0, limit - files).forEach(addFile);
  }
  process.stderr.write(`patient ${number + 1} of ${patients.length}, ${files} files, ${rows.size} paths\n`);
}

for (const path of [...rows.keys()].sort()) {
  const { files: count, vrs, values, more, min, max } = rows.get(path);
  print(
    JSON.stringify({ path, files: count, vrs: [...vrs].sort(), values: [...values], more_values: more, min, max }),
  );
}

// What the patient's files say at all: the paths to complete, and the values to offer where there are few.

/** @typedef {import("./query.js").CatalogueRow} CatalogueRow */

const MOST = 12;
const MAX_PAGES = 10;

export class Catalogue {
  /** @type {Promise<CatalogueRow[]> | null} */
  #rows = null;

  /** @param {import("./api.js").Service} service */
  constructor(service) {
    this.service = service;
  }

  /** Returns every path of the patient's files, asked for once. */
  rows() {
    this.#rows ??= this.#read().catch((error) => {
      this.#rows = null;
      throw error;
    });
    return this.#rows;
  }

  async #read() {
    /** @type {CatalogueRow[]} */
    const rows = [];
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const { tags } = await this.service.json(`${this.service.root}/tags?limit=1000&offset=${rows.length}`);
      rows.push(...tags);
      if (tags.length < 1000) break;
    }
    return rows;
  }

  /**
   * Returns the paths that go on from what was typed: those that begin so, then those that have it within, then what
   * most files have.
   * @param {string} typed
   */
  async paths(typed) {
    const wanted = typed.toLowerCase();
    const rated = (await this.rows())
      .map((row) => ({ row, at: row.path.toLowerCase().indexOf(wanted) }))
      .filter(({ row, at }) => at >= 0 && !row.vrs.includes("SQ"));
    const rate = (/** @type {{row: CatalogueRow, at: number}} */ { row, at }) =>
      (at === 0 ? 0 : 2) + (row.path.includes(".") ? 1 : 0);
    rated.sort((one, other) => rate(one) - rate(other) || other.row.files - one.row.files || one.row.path.length - other.row.path.length);
    return rated.slice(0, MOST).map(({ row }) => row);
  }

  /**
   * Returns the values of a path, where they are few.
   * @param {string} path
   * @param {string} typed
   */
  async values(path, typed) {
    const row = (await this.rows()).find((each) => each.path.toLowerCase() === path.toLowerCase());
    if (!row || row.more_values) return [];
    const wanted = typed.toLowerCase();
    return row.values.map(String).filter((value) => value.toLowerCase().includes(wanted)).slice(0, 20);
  }
}

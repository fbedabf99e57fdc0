// A field that completes what is typed, as ARIA's combobox with a list.

import { make } from "./dom.js";

/** @typedef {{label: string, hint: string, insert: string}} Offer */
/** @typedef {{offers: Offer[], from: number, to: number}} Offers  what is offered, and the part that it replaces */

let made = 0;

export class Completion {
  /** @type {Offer[]} */
  #offers = [];
  #range = { from: 0, to: 0 };
  #active = -1;
  #asked = 0;

  /**
   * @param {HTMLInputElement} field
   * @param {HTMLElement} list
   * @param {(typed: string, caret: number) => Promise<Offers>} offer
   * @param {(offer: Offer) => unknown} [onTake]
   */
  constructor(field, list, offer, onTake = () => undefined) {
    this.field = field;
    this.list = list;
    this.offer = offer;
    this.onTake = onTake;
    list.id ||= `completion-${(made += 1)}`;
    field.setAttribute("role", "combobox");
    field.setAttribute("aria-autocomplete", "list");
    field.setAttribute("aria-controls", list.id);
    field.setAttribute("aria-expanded", "false");
    list.setAttribute("role", "listbox");
    field.addEventListener("input", () => this.show());
    field.addEventListener("focus", () => this.show());
    field.addEventListener("keydown", (event) => this.#key(event));
    field.addEventListener("blur", () => setTimeout(() => this.hide(), 150));
  }

  /** Offers what fits what is typed. */
  async show() {
    const asked = (this.#asked += 1);
    const { value, selectionStart } = this.field;
    const { offers, from, to } = await this.offer(value, selectionStart ?? value.length).catch(() => ({ offers: [], from: 0, to: 0 }));
    if (asked !== this.#asked || document.activeElement !== this.field) return;
    this.#offers = offers;
    this.#range = { from, to };
    this.#active = -1;
    this.list.replaceChildren(...offers.map((each, at) => {
      const option = make("li", "", make("span", "", each.label), make("span", "facts", each.hint));
      option.id = `${this.list.id}-${at}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        this.#take(each);
      });
      return option;
    }));
    this.list.hidden = !offers.length;
    this.field.setAttribute("aria-expanded", String(offers.length > 0));
    this.field.removeAttribute("aria-activedescendant");
  }

  /** Offers nothing. */
  hide() {
    this.#asked += 1;
    this.list.hidden = true;
    this.field.setAttribute("aria-expanded", "false");
    this.field.removeAttribute("aria-activedescendant");
    this.#active = -1;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (this.list.hidden) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const count = this.#offers.length;
      this.#activate((this.#active + (event.key === "ArrowDown" ? 1 : this.#active < 0 ? 0 : -1) + count) % count);
    } else if ((event.key === "Enter" && this.#active >= 0) || (event.key === "Tab" && this.#active >= 0)) {
      event.preventDefault();
      this.#take(this.#offers[this.#active]);
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      this.hide();
    }
  }

  /** @param {number} at */
  #activate(at) {
    this.#active = at;
    for (const [number, option] of [...this.list.children].entries()) {
      option.setAttribute("aria-selected", String(number === at));
      if (number === at) {
        option.scrollIntoView({ block: "nearest" });
        this.field.setAttribute("aria-activedescendant", option.id);
      }
    }
  }

  /** @param {Offer} offer */
  #take(offer) {
    const { value } = this.field;
    const caret = this.#range.from + offer.insert.length;
    this.field.value = value.slice(0, this.#range.from) + offer.insert + value.slice(this.#range.to);
    this.field.setSelectionRange(caret, caret);
    this.hide();
    this.onTake(offer);
    if (offer.insert.endsWith("=")) this.show();
  }
}

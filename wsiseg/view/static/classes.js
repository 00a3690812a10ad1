// The classes of a run that has several: their colours, how many nuclei, and a switch for each.

import { byId, count, css, element } from "./page.js";

export class ClassSwitches {
  constructor(classes, changed) {
    this.boxes = new Map(); // by class value
    this.counts = new Map();
    if (classes.length < 2) return;
    byId("classes").hidden = false;
    byId("class-switches").append(...classes.map((one) => this.row(one, changed)));
  }

  row({ value, name, rgb }, changed) {
    const box = element("input", { type: "checkbox", checked: true, id: `class-${value}` });
    box.addEventListener("input", changed);
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = css(rgb);
    const number = element("span", { className: "quiet" });
    this.boxes.set(value, box);
    this.counts.set(value, number);
    return element("div", { className: "class" }, box, element("label", { htmlFor: box.id }, swatch, name), number);
  }

  showCounts(counts) {
    for (const [value, number] of this.counts) number.textContent = count(counts[value] ?? 0);
  }

  shows(value) {
    return this.boxes.get(value)?.checked ?? true;
  }
}

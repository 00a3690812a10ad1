// The measurements of one nucleus.

import { byId, css, element, number } from "./page.js";

const UNITS = { um2: "µm²", um: "µm", deg: "°", mm2: "per mm²", "50um": "within 50 µm" };
const WORDS = { od: "OD" };

// "area_um2" is "Area" in "µm²".
function named(column) {
  const parts = column.split("_");
  const unit = parts.length > 1 ? UNITS[parts.at(-1)] : undefined;
  const words = (unit ? parts.slice(0, -1) : parts).map((part) => WORDS[part] ?? part).join(" ");
  return [words.charAt(0).toUpperCase() + words.slice(1), unit ?? ""];
}

// How probable each class is; nothing of a run with one.
function probabilities(found, classes) {
  const known = new Map(classes.map((one) => [one.value, one]));
  return found.flatMap(({ value, probability }) => {
    const { name, rgb } = known.get(value);
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = css(rgb);
    const cell = element("dd", {}, `${Math.round(100 * probability)} %`);
    cell.dataset.classValue = value;
    return [element("dt", {}, swatch, name), cell];
  });
}

export function showNucleus({ measurements, classes: found }, classes) {
  const { id, class: name, ...rest } = measurements;
  const list = element("dl", { id: "measurements" });
  for (const [column, value] of Object.entries({ class: name, ...rest })) {
    const [label, unit] = named(column);
    const cell = element("dd", {}, `${number(value)} `, element("span", { className: "quiet" }, unit));
    cell.dataset.column = column;
    list.append(element("dt", {}, label), cell);
    if (column === "class") list.append(...probabilities(found, classes));
  }
  byId("nucleus").replaceChildren(element("h3", {}, `Nucleus ${id}`), list);
}

export function showText(text) {
  byId("nucleus").replaceChildren(element("p", { className: "quiet" }, text));
}

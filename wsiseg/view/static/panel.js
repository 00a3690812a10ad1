// The measurements of one nucleus.

import { byId, element, number } from "./page.js";

const UNITS = { um2: "µm²", um: "µm", deg: "°", mm2: "per mm²", "50um": "within 50 µm" };
const WORDS = { od: "OD" };

// "area_um2" is "Area" in "µm²".
function named(column) {
  const parts = column.split("_");
  const unit = parts.length > 1 ? UNITS[parts.at(-1)] : undefined;
  const words = (unit ? parts.slice(0, -1) : parts).map((part) => WORDS[part] ?? part).join(" ");
  return [words.charAt(0).toUpperCase() + words.slice(1), unit ?? ""];
}

export function showNucleus({ measurements }) {
  const { id, class: name, ...rest } = measurements;
  const list = element("dl", { id: "measurements" });
  for (const [column, value] of Object.entries({ class: name, ...rest })) {
    const [label, unit] = named(column);
    const cell = element("dd", {}, `${number(value)} `, element("span", { className: "quiet" }, unit));
    cell.dataset.column = column;
    list.append(element("dt", {}, label), cell);
  }
  byId("nucleus").replaceChildren(element("h3", {}, `Nucleus ${id}`), list);
}

export function showText(text) {
  byId("nucleus").replaceChildren(element("p", { className: "quiet" }, text));
}

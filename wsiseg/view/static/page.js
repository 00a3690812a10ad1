// What all pages share: fetching, making elements, writing numbers.

export async function fetched(path, kind = "json", options = {}) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error(`${answer.status}: ${(await answer.text()).trim()}`);
  return answer[kind]();
}

// Text that comes from files is only ever set as text, never as HTML.
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const css = (rgb) => `rgb(${rgb.join(" ")})`;

export const byId = (id) => document.getElementById(id);

export function count(value) {
  return value === null || value === undefined ? "–" : value.toLocaleString("en-US");
}

export function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  return value >= 10 ** digits ? String(Math.round(value)) : String(Number(value.toPrecision(digits)));
}

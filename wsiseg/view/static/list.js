// The slides of a cohort: what needs somebody's attention comes first.

import { byId, count, element, fetched } from "./page.js";

const ORDER = ["failed", "complete-with-gaps", "waiting", "complete", "duplicate"];

function row({ slide, state, code, message, nuclei, nuclei_per_mm2: density, tissue_mm2: tissue, number, shown }) {
  const name = shown ? element("a", { href: `/slide/${number}/` }, slide) : slide;
  const badge = element("span", { className: `state ${state}` }, state.replaceAll("-", " "));
  const why = [code, message].filter(Boolean).join(": ");
  const cells = [count(nuclei), density === null ? "–" : count(Math.round(density)), tissue === null ? "–" : tissue.toFixed(2)];
  return element(
    "tr", {},
    element("td", {}, name),
    element("td", {}, badge, why ? element("p", { className: "quiet" }, why) : ""),
    ...cells.map((text) => element("td", { className: "number" }, text)),
  );
}

async function main() {
  const { name, slides } = await fetched("/slides.json");
  document.title = `${name} – wsiseg`;
  byId("name").textContent = name;
  const failed = slides.filter(({ state }) => state === "failed").length;
  const nuclei = slides.reduce((sum, slide) => sum + (slide.state === "duplicate" ? 0 : slide.nuclei ?? 0), 0);
  byId("facts").textContent = `${count(slides.length)} slides, ${count(failed)} failed · ${count(nuclei)} nuclei`;
  slides.sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
  const rows = slides.map((slide) => [slide.slide.toLowerCase(), row(slide)]);
  byId("rows").append(...rows.map(([, made]) => made));
  byId("filter").addEventListener("input", (event) => {
    const part = event.target.value.toLowerCase();
    for (const [text, made] of rows) made.hidden = !text.includes(part);
  });
}

main();

// Colours of nuclei: by class, or by a measurement in steps of a scale; and the legend that explains them.

import { byId, count, css, element, number } from "./page.js";

// From blue over green to yellow: apart in brightness, so readable without colour vision, and of no stain.
const STOPS = [[70, 100, 255], [0, 160, 235], [0, 190, 150], [120, 215, 60], [255, 232, 40]];
const STEPS = 16;

function onScale(share) {
  const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((value, i) => Math.round(value + (STOPS[low + 1][i] - value) * (place - low)));
}

class ByClass {
  constructor(classes, counts) {
    this.classes = classes;
    this.counts = counts;
    this.colours = new Map(classes.map(({ value, rgb }) => [value, css(rgb)]));
  }

  key(outlines, index) {
    return outlines.classValue[index];
  }

  colour(key) {
    return this.colours.get(key) ?? "rgb(128 128 128)";
  }

  legend() {
    if (this.classes.length > 1) return []; // the switches of the classes explain them
    return this.classes.map(({ value, name }) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = this.colour(value);
      return element("p", {}, swatch, `${name} `, element("span", { className: "quiet" }, count(this.counts[value] ?? 0)));
    });
  }
}

class ByMeasurement {
  constructor(column, range, unit) {
    [this.low, this.high] = range;
    this.column = column;
    this.unit = unit;
  }

  key(outlines, index) {
    const share = (outlines[this.column][index] - this.low) / (this.high - this.low || 1);
    return Math.min(Math.max(Math.floor(share * STEPS), 0), STEPS - 1);
  }

  colour(key) {
    return css(onScale(key / (STEPS - 1)));
  }

  legend() {
    return [ramp(STOPS.map(css)), ends(`${number(this.low, 3)} ${this.unit}`, `${number(this.high, 3)} ${this.unit}`)];
  }
}

function ramp(colours) {
  const bar = element("div", { className: "ramp" });
  bar.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
  return bar;
}

function ends(low, high) {
  return element("p", { className: "ends" }, element("span", {}, low), element("span", {}, high));
}

const DENSITY = ["#ffffcc", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#0c2c84"];

export function densityLegend(top, classes) {
  const most = `${count(Number(top.toPrecision(2)))} nuclei per mm²`;
  if (classes.length > 1) return [element("p", { className: "quiet" }, `The fuller a colour, the denser its class; full from ${most} on.`)];
  return [ramp(DENSITY), ends("0", most)];
}

// The ways to colour nuclei, by the name of their button.
export function modes(about, nuclei) {
  return new Map([
    ["Class", new ByClass(about.classes, nuclei.classes)],
    ["Area", new ByMeasurement("area", nuclei.ranges.area_um2, "µm²")],
    ["Probability", new ByMeasurement("probability", nuclei.ranges.probability, "")],
  ]);
}

export function chooser(names, chosen) {
  for (const name of names) {
    const button = element("input", { type: "radio", name: "mode", value: name, id: `mode-${name}` });
    button.checked = name === names[0];
    button.addEventListener("change", () => chosen(name));
    byId("modes").append(element("label", {}, button, element("span", {}, name)));
  }
}

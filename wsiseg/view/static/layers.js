// The layers of the page: which there are, whether they show, and how strongly.

import { element } from "./page.js";

// A pyramid of tiles as OpenSeadragon wants it.
export function tileSource(name, pyramid) {
  return {
    width: pyramid.width,
    height: pyramid.height,
    tileSize: pyramid.tile,
    tileOverlap: 0,
    minLevel: 0,
    maxLevel: pyramid.levels - 1,
    getTileUrl: (level, x, y) => `${name}/${level}/${x}_${y}`,
  };
}

// Lays an image over the slide at a level-0 rectangle.
export function addImage(world, source, plane, opacity) {
  const { x, y, width } = world.rect(plane);
  return new Promise((resolve, reject) => {
    world.viewer.addTiledImage({
      tileSource: source, x, y, width, opacity,
      success: ({ item }) => resolve(item),
      error: ({ message }) => reject(new Error(message)),
    });
  });
}

// A row with a box to switch a layer and a slider for its opacity; keys 1, 2, ... switch too.
export class LayerControls {
  constructor(parent, changed) {
    this.parent = parent;
    this.changed = changed;
    this.layers = new Map();
  }

  add(name, label, { on, opacity, hint = "" }) {
    const key = String(this.layers.size + 1);
    const box = element("input", { type: "checkbox", checked: on, id: `layer-${name}` });
    const slider = element("input", { type: "range", min: 0, max: 100, value: 100 * opacity, id: `opacity-${name}` });
    slider.setAttribute("aria-label", `Opacity of ${label.toLowerCase()}`);
    const text = element("label", { htmlFor: box.id, title: `Key ${key}` }, label);
    this.parent.append(element("div", { className: "layer" }, box, text, slider));
    if (hint) this.parent.append(element("p", { className: "quiet", id: `hint-${name}` }, hint));
    for (const input of [box, slider]) input.addEventListener("input", () => this.changed(name));
    this.layers.set(name, { box, slider, key });
  }

  // 0 where a layer is switched off.
  opacity(name) {
    const { box, slider } = this.layers.get(name);
    return box.checked ? slider.value / 100 : 0;
  }

  toggle(key) {
    for (const [name, layer] of this.layers) {
      if (layer.key !== key) continue;
      layer.box.checked = !layer.box.checked;
      this.changed(name);
    }
  }
}

// The outlines of nuclei over the slide: fetched by tile as they come into view, drawn as vectors at any zoom.

import { fetched } from "./page.js";
import { Outlines } from "./outlines.js";

const AT_A_TIME = 4; // requests, so that the slide's own tiles get through beside them
const KEPT_TILES = 600;
const MARGIN_UM = 30; // an outline may reach this far out of its tile

export class NucleiLayer {
  constructor(world, { side }, mpp, redraw) {
    this.world = world;
    this.side = side;
    this.margin = MARGIN_UM / mpp;
    this.redraw = redraw;
    this.tiles = new Map();
    this.wanted = [];
    this.running = 0;
    this.mode = null;
    this.shows = () => true;
  }

  colourBy(mode) {
    this.mode = mode;
    this.forgetPaths();
  }

  // `shows` tells of a class' value whether its nuclei are to be seen.
  showOnly(shows) {
    this.shows = shows;
    this.forgetPaths();
  }

  forgetPaths() {
    for (const tile of this.tiles.values()) tile.paths = new Map();
    this.redraw();
  }

  // Tiles under the visible part of the slide, the nearest to its middle first.
  inView() {
    const { x, y, right, bottom } = this.world.visible;
    const { area } = this.world;
    const { side, margin } = this;
    const first = (value, low) => Math.floor((Math.max(value, low) - margin) / side);
    const last = (value, high) => Math.floor((Math.min(value, high) + margin) / side);
    const found = [];
    for (let row = Math.max(first(y, area.y), 0); row <= last(bottom, area.y + area.height); row++) {
      for (let column = Math.max(first(x, area.x), 0); column <= last(right, area.x + area.width); column++) {
        const far = Math.hypot((column + 0.5) * side - (x + right) / 2, (row + 0.5) * side - (y + bottom) / 2);
        found.push({ column, row, far, key: `${column}_${row}` });
      }
    }
    return found.sort((a, b) => a.far - b.far);
  }

  // Asks for what is in view and not here yet; what was wanted before and is out of view now is forgotten.
  load() {
    this.wanted = this.inView().filter(({ key }) => !this.tiles.has(key));
    while (this.running < AT_A_TIME && this.wanted.length) this.fetchNext();
  }

  async fetchNext() {
    const { key, column, row } = this.wanted.shift();
    const tile = { column, row, outlines: null, paths: new Map() };
    this.tiles.set(key, tile);
    this.running++;
    try {
      tile.outlines = new Outlines(await fetched(`nuclei/${key}`, "arrayBuffer"));
      this.redraw();
    } catch (error) {
      this.tiles.delete(key);
      console.warn(error);
      this.wanted = [];
    } finally {
      this.running--;
      this.forget();
      while (this.running < AT_A_TIME && this.wanted.length) this.fetchNext();
    }
  }

  forget() {
    for (const key of this.tiles.keys()) {
      if (this.tiles.size <= KEPT_TILES) return;
      this.tiles.delete(key);
    }
  }

  get complete() {
    return this.running === 0 && this.wanted.length === 0;
  }

  draw(context, ratio, opacity) {
    const { scale } = this.world;
    const step = scale >= 0.9 ? 0 : 2 ** Math.floor(Math.log2(0.7 / scale)); // less than a screen pixel
    context.globalAlpha = opacity;
    context.lineJoin = "round";
    for (const { key } of this.inView()) {
      const tile = this.tiles.get(key);
      if (!tile?.outlines) continue;
      this.tiles.delete(key); // what was drawn last is forgotten last
      this.tiles.set(key, tile);
      this.place(context, ratio, tile);
      context.lineWidth = (scale < 0.5 ? 1.25 : 2) / scale;
      for (const [colour, path] of this.paths(tile, step)) {
        context.strokeStyle = colour;
        context.stroke(path);
      }
    }
    context.globalAlpha = 1;
  }

  // Makes level-0 pixels of a tile the unit of a drawing.
  place(context, ratio, { column, row }) {
    const { scale, origin } = this.world;
    const x = origin.x + column * this.side * scale;
    const y = origin.y + row * this.side * scale;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
  }

  // One path a colour, made once for each step of detail.
  paths(tile, step) {
    let paths = tile.paths.get(step);
    if (!paths) {
      const byKey = new Map();
      const { outlines } = tile;
      for (let index = 0; index < outlines.length; index++) {
        if (!this.shows(outlines.classValue[index])) continue;
        const key = this.mode.key(outlines, index);
        if (!byKey.has(key)) byKey.set(key, new Path2D());
        outlines.trace(byKey.get(key), index, step);
      }
      paths = [...byKey].map(([key, path]) => [this.mode.colour(key), path]);
      tile.paths.set(step, paths);
    }
    return paths;
  }

  // The nucleus around a level-0 point: it may belong to a neighbouring tile.
  at({ x, y }) {
    for (const dy of [0, -this.margin, this.margin]) {
      for (const dx of [0, -this.margin, this.margin]) {
        const tile = this.tiles.get(`${Math.floor((x + dx) / this.side)}_${Math.floor((y + dy) / this.side)}`);
        const index = tile?.outlines?.at(x - tile.column * this.side, y - tile.row * this.side) ?? -1;
        if (index >= 0 && this.shows(tile.outlines.classValue[index])) return { id: tile.outlines.id[index], tile, index };
      }
    }
    return null;
  }

  // The nucleus of an id among those that are here.
  withId(id) {
    for (const tile of this.tiles.values()) {
      const index = tile.outlines ? tile.outlines.id.indexOf(id) : -1;
      if (index >= 0) return { id, tile, index };
    }
    return null;
  }

  drawOne(context, ratio, { tile, index }) {
    const path = new Path2D();
    tile.outlines.trace(path, index);
    this.place(context, ratio, tile);
    const { scale } = this.world;
    for (const [colour, width] of [["#000", 6], ["#fff", 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = width / scale;
      context.stroke(path);
    }
  }
}

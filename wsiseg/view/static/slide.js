// The page of one slide: puts layers, controls and panels together.

import { ClassSwitches } from "./classes.js";
import { chooser, densityLegend, modes } from "./colours.js";
import { addImage, LayerControls, tileSource } from "./layers.js";
import { Marks } from "./marks.js";
import { NucleiLayer } from "./nuclei.js";
import { byId, count, element, fetched } from "./page.js";
import { showNucleus, showText } from "./panel.js";
import { formatPlace, parsePlace } from "./place.js";
import { showScale } from "./scale-bar.js";
import { World } from "./world.js";

const COARSEST_UM = 1; // um per screen pixel: beyond it an outline has few pixels, and density says more

class SlidePage {
  constructor(about) {
    this.about = about;
    this.describe(); // first: the viewer takes the room that the header leaves
    this.viewer = makeViewer();
    this.world = new World(this.viewer, about.area);
    this.marks = new Marks(this.world, about.gaps);
    this.controls = new LayerControls(byId("layers"), () => this.update());
    this.canvas = element("canvas", { className: "outlines" });
    this.images = {};
    this.densities = new Map(); // by class value
    this.nuclei = null;
    this.selected = null;
    this.frame = 0;
  }

  async open() {
    this.addControls();
    const { picture, mask } = this.about;
    this.images.slide = await addImage(this.world, tileSource("picture", picture), plane(picture), 1);
    this.viewer.viewport.goHome(true);
    this.goToLink();
    this.viewer.canvas.append(this.canvas);
    this.listen();
    this.draw();
    this.images.mask = await addImage(this.world, tileSource("mask", mask), plane(mask), 0);
    this.update();
    await Promise.all([this.addNuclei(), this.addMarks()]);
  }

  describe() {
    const { name, facts, model, slide_note: note, cohort } = this.about;
    document.title = `${name} – wsiseg`;
    byId("name").textContent = name;
    const density = facts.nuclei_per_mm2 === null ? "" : `, ${count(Math.round(facts.nuclei_per_mm2))} per mm²`;
    byId("facts").textContent = `${count(facts.nuclei)} nuclei${density} · ${facts.tissue_mm2.toFixed(2)} mm² looked at · ${model}`;
    byId("back").hidden = !cohort;
    byId("note").textContent = note;
    byId("note").hidden = !note;
    byId("warnings").hidden = facts.warnings.length === 0;
    byId("warnings").lastElementChild.append(...facts.warnings.map((text) => element("li", {}, text)));
  }

  addControls() {
    this.controls.add("slide", "Slide", { on: true, opacity: 1 });
    this.controls.add("nuclei", "Nuclei", { on: true, opacity: 1, hint: "Reading the table …" });
    this.controls.add("mask", "Mask", { on: false, opacity: 0.5 });
    this.controls.add("marks", "Tissue and gaps", { on: true, opacity: 1 });
    this.switches = new ClassSwitches(this.about.classes, () => this.showClasses());
  }

  async addNuclei() {
    const { about } = this;
    this.table = await fetched("nuclei.json");
    this.switches.showCounts(this.table.classes);
    for (const { value } of about.classes) {
      const picture = { type: "image", url: `density/${value}`, buildPyramid: false };
      this.densities.set(value, await addImage(this.world, picture, this.table.density, 0));
    }
    this.nuclei = new NucleiLayer(this.world, this.table, about.mpp, () => this.redraw());
    this.modes = modes(about, this.table);
    const names = [...this.modes.keys()];
    chooser(names, (name) => this.colourBy(name));
    this.colourBy(names[0]);
    this.showClasses();
  }

  showClasses() {
    this.nuclei?.showOnly((value) => this.switches.shows(value));
    if (this.selected && !this.switches.shows(this.selected.tile.outlines.classValue[this.selected.index])) this.unselect();
    this.update();
  }

  async addMarks() {
    this.marks.rings = await fetched("outline.json");
    this.marks.overNavigator();
    this.redraw();
  }

  colourBy(name) {
    this.mode = this.modes.get(name);
    this.nuclei.colourBy(this.mode);
    this.explain();
  }

  // Outlines are legible here; else their density is shown.
  get near() {
    return this.about.mpp / this.world.scale <= COARSEST_UM;
  }

  explain() {
    if (!this.nuclei) return;
    const near = this.near;
    byId("legend").replaceChildren(...(near ? this.mode.legend() : densityLegend(this.table.density.top, this.about.classes)));
    byId("hint-nuclei").textContent = near ? "Shown as outlines." : "Shown as density; zoom in to see outlines.";
    document.body.classList.toggle("near", near);
  }

  listen() {
    const { viewer } = this;
    viewer.addHandler("viewport-change", () => this.draw());
    viewer.addHandler("resize", () => this.redraw());
    viewer.addHandler("animation-finish", () => this.keepPlace());
    viewer.addHandler("canvas-click", (event) => event.quick && this.select(event.position));
    viewer.addHandler("canvas-key", (event) => {
      // Slides are not turned or mirrored: their coordinates would no longer be what the page says.
      if ("rRfF".includes(event.originalEvent.key)) event.preventDefaultAction = true;
    });
    viewer.canvas.addEventListener("pointermove", (event) => this.showWhere(event));
    window.addEventListener("hashchange", () => this.goToLink());
    window.addEventListener("keydown", (event) => this.onKey(event));
    byId("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.find(byId("number").value);
    });
  }

  onKey(event) {
    const typing = event.target.matches("input:not([type=checkbox], [type=radio])");
    if (event.key === "Escape") this.unselect();
    else if (!typing && !event.ctrlKey && !event.metaKey) this.controls.toggle(event.key);
  }

  goToLink() {
    const place = parsePlace(window.location.hash);
    if (place) this.world.goTo(place, true);
  }

  keepPlace() {
    window.history.replaceState(null, "", formatPlace(this.world.place));
  }

  showWhere(event) {
    const box = this.viewer.canvas.getBoundingClientRect();
    const { x, y } = this.world.fromScreen({ x: event.clientX - box.x, y: event.clientY - box.y });
    byId("where").textContent = `x ${Math.floor(x)}, y ${Math.floor(y)}`;
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  // Sets every image to its layer's opacity, then draws the vectors.
  update() {
    const { images, controls } = this;
    images.slide?.setOpacity(controls.opacity("slide"));
    images.mask?.setOpacity(controls.opacity("mask"));
    for (const [value, image] of this.densities) {
      image.setOpacity(this.near || !this.switches.shows(value) ? 0 : 0.7 * controls.opacity("nuclei"));
    }
    this.redraw();
  }

  draw() {
    const context = this.fitted();
    const ratio = window.devicePixelRatio;
    if (this.controls.opacity("marks")) {
      context.globalAlpha = this.controls.opacity("marks");
      this.marks.draw(context, ratio);
      context.globalAlpha = 1;
    }
    const opacity = this.controls.opacity("nuclei");
    if (this.nuclei && this.near !== this.wasNear) {
      this.wasNear = this.near;
      this.explain();
      this.update();
    }
    if (this.nuclei && this.near && opacity) {
      this.nuclei.load();
      this.nuclei.draw(context, ratio, opacity);
    }
    if (this.selected) this.nuclei.drawOne(context, ratio, this.selected);
    showScale(this.world.scale, this.about.mpp);
    document.body.dataset.loaded = String(Boolean(this.nuclei?.complete));
  }

  // The canvas over the slide, empty and as large as it in the screen's own pixels.
  fitted() {
    const { x, y } = this.viewer.viewport.getContainerSize();
    const ratio = window.devicePixelRatio;
    const [width, height] = [Math.round(x * ratio), Math.round(y * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }

  select(pixel) {
    const found = this.near ? this.nuclei?.at(this.world.fromScreen(pixel)) : null;
    if (!found) return this.unselect();
    this.selected = found;
    this.redraw();
    return this.describeNucleus(found.id);
  }

  unselect() {
    this.selected = null;
    showText("Click a nucleus to see its measurements.");
    this.redraw();
  }

  async describeNucleus(id) {
    try {
      const nucleus = await fetched(`nucleus/${id}`);
      showNucleus(nucleus, this.about.classes);
      return nucleus;
    } catch (error) {
      showText(String(error.message).startsWith("404") ? `There is no nucleus ${id}.` : error.message);
      return null;
    }
  }

  async find(text) {
    if (!/^\s*\d{1,10}\s*$/.test(text)) return showText("Give the number of a nucleus.");
    const id = Number(text);
    const nucleus = await this.describeNucleus(id);
    if (!nucleus) return undefined;
    const [left, top, right, bottom] = nucleus.bbox;
    this.world.goTo({ x: (left + right) / 2, y: (top + bottom) / 2, zoom: Math.max(this.world.scale, 1) }, true);
    this.keepPlace();
    return this.selectWhenHere(id);
  }

  selectWhenHere(id, tries = 50) {
    this.selected = this.nuclei.withId(id);
    this.redraw();
    if (!this.selected && tries) setTimeout(() => this.selectWhenHere(id, tries - 1), 100);
  }
}

function plane({ x, y, width, height, downsample }) {
  return { x, y, width: width * downsample, height: height * downsample };
}

function makeViewer() {
  return window.OpenSeadragon({
    element: byId("viewer"),
    drawer: "canvas",
    showNavigationControl: false,
    showNavigator: true,
    navigatorId: "navigator",
    navigatorOpacity: 1,
    maxZoomPixelRatio: 16,
    visibilityRatio: 0.3,
    animationTime: 0.5,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  });
}

async function main() {
  try {
    await new SlidePage(await fetched("about.json")).open();
  } catch (error) {
    byId("problem").textContent = error.message;
    throw error;
  }
}

main();

// Where level-0 pixels lie on the screen. OpenSeadragon's unit is the width of the slide's area.

const { Point, Rect } = window.OpenSeadragon;

export class World {
  constructor(viewer, area) {
    this.viewer = viewer;
    this.area = area;
  }

  // Screen pixels (CSS) per level-0 pixel.
  get scale() {
    const viewport = this.viewer.viewport;
    return (viewport.getZoom(true) * viewport.getContainerSize().x) / this.area.width;
  }

  // Screen position of level-0 (0, 0).
  get origin() {
    const { x, y, width } = this.area;
    return this.viewer.viewport.pixelFromPoint(new Point(-x / width, -y / width), true);
  }

  fromScreen(pixel) {
    const { x, y } = this.origin;
    return { x: (pixel.x - x) / this.scale, y: (pixel.y - y) / this.scale };
  }

  // The visible rectangle in level-0 pixels.
  get visible() {
    const size = this.viewer.viewport.getContainerSize();
    const first = this.fromScreen({ x: 0, y: 0 });
    return { ...first, right: first.x + size.x / this.scale, bottom: first.y + size.y / this.scale };
  }

  get place() {
    const { x, y, right, bottom } = this.visible;
    return { x: (x + right) / 2, y: (y + bottom) / 2, zoom: this.scale };
  }

  goTo({ x, y, zoom }, immediately = false) {
    const { viewport } = this.viewer;
    const { area } = this;
    viewport.zoomTo((zoom * area.width) / viewport.getContainerSize().x, null, immediately);
    viewport.panTo(new Point((x - area.x) / area.width, (y - area.y) / area.width), immediately);
  }

  // A level-0 rectangle in OpenSeadragon's unit.
  rect({ x, y, width, height }) {
    const { area } = this;
    return new Rect((x - area.x) / area.width, (y - area.y) / area.width, width / area.width, height / area.width);
  }
}

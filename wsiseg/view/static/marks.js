// Where the run looked and where it could not: the edge of the tissue, and tiles that were unreadable.

const EDGE = "#be2814";
const GAP = "#ff8c00";
const SVG = "http://www.w3.org/2000/svg";

export class Marks {
  constructor(world, gaps) {
    this.world = world;
    this.gaps = gaps;
    this.rings = [];
  }

  draw(context, ratio) {
    const { scale, origin } = this.world;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * origin.x, ratio * origin.y);
    context.lineWidth = 1.5 / scale;
    context.strokeStyle = EDGE;
    context.stroke(this.edge());
    context.strokeStyle = GAP;
    for (const [x, y, width, height] of this.gaps) {
      context.strokeRect(x, y, width, height);
      context.stroke(cross(x, y, width, height));
    }
  }

  edge() {
    const path = new Path2D();
    for (const ring of this.rings) {
      ring.forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
      path.closePath();
    }
    return path;
  }

  // The same over the navigator, as an image that it scales.
  overNavigator() {
    const { area, viewer } = this.world;
    const svg = make("svg", { viewBox: `${area.x} ${area.y} ${area.width} ${area.height}`, preserveAspectRatio: "none" });
    const d = this.rings.map((ring) => `M${ring.map((point) => point.join(" ")).join("L")}Z`).join("");
    svg.append(make("path", { d, fill: "none", stroke: EDGE, "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }));
    for (const [x, y, width, height] of this.gaps) {
      const style = { fill: GAP, stroke: GAP, "stroke-width": 3, "vector-effect": "non-scaling-stroke" };
      svg.append(make("rect", { x, y, width, height, ...style }));
    }
    viewer.navigator.addOverlay({ element: svg, location: this.world.rect(area) });
  }
}

function cross(x, y, width, height) {
  const path = new Path2D();
  path.moveTo(x, y);
  path.lineTo(x + width, y + height);
  path.moveTo(x + width, y);
  path.lineTo(x, y + height);
  return path;
}

function make(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// A place on the slide as the end of a link: #x,y,zoom, with x and y in level-0 pixels and zoom in screen pixels each.

const PLACE = /^#(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?),(\d+(?:\.\d+)?)$/;

export function parsePlace(hash) {
  const found = PLACE.exec(hash);
  if (!found) return null;
  const [x, y, zoom] = found.slice(1).map(Number);
  return zoom > 0 ? { x, y, zoom } : null;
}

export function formatPlace({ x, y, zoom }) {
  return `#${x.toFixed(1)},${y.toFixed(1)},${Number(zoom.toPrecision(4))}`;
}

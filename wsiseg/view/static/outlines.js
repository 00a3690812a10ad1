// The nuclei of one tile: the arrays that the server sends (wsiseg/view/outlines.py describes them), and paths to draw.

export class Outlines {
  constructor(buffer) {
    const [n, left, m] = new Uint32Array(buffer, 0, 3);
    let at = 12;
    const take = (kind, length) => {
      const array = new kind(buffer, at, length);
      at += array.byteLength;
      return array;
    };
    this.length = n;
    this.leftOut = left;
    this.id = take(Uint32Array, n);
    this.first = take(Uint32Array, n + 1);
    this.area = take(Float32Array, n);
    this.probability = take(Float32Array, n);
    this.vertices = take(Float32Array, 2 * m);
    this.classValue = take(Uint8Array, n);
  }

  // Adds the outline of one nucleus to a path, without vertices nearer to each other than `step` level-0 pixels.
  trace(path, index, step = 0) {
    const { vertices } = this;
    const stop = 2 * this.first[index + 1];
    let at = 2 * this.first[index];
    let x = vertices[at];
    let y = vertices[at + 1];
    path.moveTo(x, y);
    for (at += 2; at < stop; at += 2) {
      const dx = vertices[at] - x;
      const dy = vertices[at + 1] - y;
      if (Math.abs(dx) + Math.abs(dy) < step) continue;
      x += dx;
      y += dy;
      path.lineTo(x, y);
    }
    path.closePath();
  }

  // Index of the nucleus around a point of the tile, or -1: counts how many edges lie to the right of it.
  at(x, y) {
    const { vertices, first } = this;
    for (let index = 0; index < this.length; index++) {
      let inside = false;
      const start = first[index];
      const stop = first[index + 1];
      for (let i = start, j = stop - 1; i < stop; j = i++) {
        const yi = vertices[2 * i + 1];
        const yj = vertices[2 * j + 1];
        if (yi > y === yj > y) continue;
        const xi = vertices[2 * i];
        if (x < xi + ((y - yi) * (vertices[2 * j] - xi)) / (yj - yi)) inside = !inside;
      }
      if (inside) return index;
    }
    return -1;
  }
}

// Boxes over a picture or a clip. Coordinates are pixels of the media; the drawing is stretched over exactly the part
// of the player that shows the picture, so that neither letterboxing, nor a smaller copy, nor oblong pixels matter.

const SVG = "http://www.w3.org/2000/svg";
const TEXT_PX = 13;

export class Overlay {
  constructor(svg, picture, data) {
    this.svg = svg;
    this.picture = picture;
    this.data = data;
    this.selected = null;
    this.shown = true;
    this.showRejected = true;
    this.groups = new Map();
    svg.replaceChildren();
    svg.setAttribute("preserveAspectRatio", "none");
    new ResizeObserver(() => this.fit()).observe(picture);
    picture.addEventListener("loadedmetadata", () => this.fit());
    picture.addEventListener("load", () => this.fit());
    this.fit();
  }

  // Lays the drawing over the picture inside its element, as object-fit: contain places it.
  fit() {
    const { picture } = this;
    const width = picture.videoWidth || picture.naturalWidth || this.data.width;
    const height = picture.videoHeight || picture.naturalHeight || this.data.height;
    const scale = Math.min(picture.clientWidth / width, picture.clientHeight / height) || 1;
    const style = this.svg.style;
    style.width = `${width * scale}px`;
    style.height = `${height * scale}px`;
    style.left = `${picture.offsetLeft + (picture.clientWidth - width * scale) / 2}px`;
    style.top = `${picture.offsetTop + (picture.clientHeight - height * scale) / 2}px`;
    this.textPx = (TEXT_PX * this.data.width) / (width * scale);
    this.svg.setAttribute("font-size", this.textPx.toFixed(2));
    this.draw(this.time ?? 0);
  }

  draw(time) {
    this.time = time;
    const seen = new Set();
    for (const sighting of this.shown ? this.data.sightings : []) {
      if (sighting.review === "rejected" && !this.showRejected) continue;
      const box = this.data.kind === "image" ? sighting.path[0].slice(1) : boxAt(sighting, time, this.data.slack);
      if (!box) continue;
      seen.add(sighting.id);
      this.place(sighting, box);
    }
    for (const [id, group] of this.groups) {
      if (seen.has(id)) continue;
      group.remove();
      this.groups.delete(id);
    }
  }

  place(sighting, [x1, y1, x2, y2]) {
    let group = this.groups.get(sighting.id);
    if (!group) {
      group = document.createElementNS(SVG, "g");
      group.append(document.createElementNS(SVG, "rect"), document.createElementNS(SVG, "text"));
      group.dataset.id = sighting.id;
      this.groups.set(sighting.id, group);
    }
    const selected = sighting.id === this.selected;
    const look = `box c${sighting.colour}${sighting.review ? ` is-${sighting.review}` : ""}${selected ? " is-selected" : ""}`;
    if (group.getAttribute("class") !== look) group.setAttribute("class", look);
    // What is drawn last lies on top.
    if (!group.isConnected || (selected && group !== this.svg.lastElementChild)) this.svg.append(group);
    const [rect, text] = group.children;
    set(rect, { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) });
    const above = y1 > 1.5 * this.textPx;
    set(text, { x: x1 + 0.15 * this.textPx, y: above ? y1 - 0.35 * this.textPx : y1 + 1.1 * this.textPx });
    if (text.textContent !== sighting.label) text.textContent = sighting.label;
  }

  // Which sighting's box lies at a point of the page; the smallest where several do.
  at(clientX, clientY) {
    let best = null;
    for (const [id, group] of this.groups) {
      const edge = group.firstElementChild.getBoundingClientRect();
      const inside = clientX >= edge.left && clientX <= edge.right && clientY >= edge.top && clientY <= edge.bottom;
      const area = edge.width * edge.height;
      if (inside && (!best || area < best.area)) best = { id, area };
    }
    return best?.id ?? null;
  }
}

function set(element, values) {
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value.toFixed(1));
}

// The box at a time, on the straight line between the points before and after; null while it is not seen.
export function boxAt(sighting, time, slack) {
  const { path } = sighting;
  if (time < sighting.start - slack || time > sighting.end + slack) return null;
  let low = 0;
  let high = path.length - 1;
  if (time <= path[low][0]) return path[low].slice(1);
  if (time >= path[high][0]) return path[high].slice(1);
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (path[middle][0] <= time) low = middle;
    else high = middle;
  }
  const share = (time - path[low][0]) / (path[high][0] - path[low][0] || 1);
  return path[low].slice(1).map((value, axis) => value + share * (path[high][axis + 1] - value));
}

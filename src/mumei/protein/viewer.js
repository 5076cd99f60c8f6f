"use strict";
(function () {
  const canvas = document.getElementById("view");
  if (!canvas) return;
  const data = JSON.parse(canvas.dataset.view);
  const which = document.getElementById("view-design");
  const how = document.getElementById("view-colour");
  const label = document.getElementById("view-label");
  const context = canvas.getContext("2d");
  let yaw = 0.6, pitch = 0.35, zoom = 1, drag = null, turning = true, hover = -1, places = [];
  const radius = Math.max(1, ...data.points.map((p) => Math.hypot(p[0], p[1], p[2])));

  function smooth() {
    // Catmull-Rom through the C-alpha atoms: six points between two residues that are joined.
    const out = [], points = data.points, n = points.length;
    for (let i = 0; i + 1 < n; i++) {
      if (!data.seen[i] || !data.seen[i + 1]) continue;
      const b = points[i], c = points[i + 1];
      if (Math.hypot(b[0] - c[0], b[1] - c[1], b[2] - c[2]) > 9) continue;
      const a = points[Math.max(0, i - 1)], d = points[Math.min(n - 1, i + 2)];
      for (let k = 0; k < 6; k++) {
        const at = [k / 6, (k + 1) / 6].map((t) => [0, 1, 2].map((x) => 0.5 * (2 * b[x] + (c[x] - a[x]) * t +
          (2 * a[x] - 5 * b[x] + 4 * c[x] - d[x]) * t * t + (3 * b[x] - a[x] - 3 * c[x] + d[x]) * t * t * t)));
        out.push([at[0], at[1], k < 3 ? i : i + 1]);
      }
    }
    return out;
  }
  const pieces = smooth();

  function mix(low, high, share) {
    return low.map((v, i) => Math.round(v + (high[i] - v) * Math.min(1, Math.max(0, share))));
  }
  function colour(i) {
    const design = data.designs[Number(which.value)];
    if (how.value === "place") {
      const t = i / Math.max(1, data.points.length - 1);
      return t < 0.5 ? mix([11, 102, 195], [42, 143, 91], 2 * t) : mix([42, 143, 91], [217, 138, 0], 2 * t - 1);
    }
    if (how.value === "contacts") return mix([217, 138, 0], [11, 102, 195], design.contacts[i]);
    return mix([217, 138, 0], [11, 102, 195], design.confidence[i] / 0.6);
  }
  function turn(p) {
    const x = p[0] * Math.cos(yaw) + p[2] * Math.sin(yaw), z = -p[0] * Math.sin(yaw) + p[2] * Math.cos(yaw);
    return [x, p[1] * Math.cos(pitch) - z * Math.sin(pitch), p[1] * Math.sin(pitch) + z * Math.cos(pitch)];
  }
  function draw() {
    const ratio = window.devicePixelRatio || 1, wide = canvas.clientWidth, high = canvas.clientHeight;
    if (canvas.width !== Math.round(wide * ratio)) { canvas.width = Math.round(wide * ratio); canvas.height = Math.round(high * ratio); }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, wide, high);
    const scale = zoom * Math.min(wide, high) * 0.46 / radius;
    const project = (p) => { const q = turn(p), f = 1 + q[2] / radius * 0.18; return [wide / 2 + q[0] * scale * f, high / 2 - q[1] * scale * f, q[2] / radius]; };
    places = data.points.map((p) => project(p));
    const drawn = pieces.map((s) => [project(s[0]), project(s[1]), s[2]]).sort((a, b) => a[0][2] - b[0][2]);
    const dark = window.matchMedia("(prefers-color-scheme: dark)").matches ? [21, 26, 34] : [245, 247, 250];
    for (const [a, b, i] of drawn) {
      const fog = 0.55 * Math.min(1, Math.max(0, (0.7 - a[2]) / 1.7)), rgb = mix(colour(i), dark, fog);
      const thick = Math.max(2, scale * 1.15 * (1 + 0.3 * a[2]));
      context.strokeStyle = "rgb(" + mix(rgb, [0, 0, 0], 0.28).join(",") + ")";
      context.lineWidth = thick + 2; context.lineCap = "butt";
      context.beginPath(); context.moveTo(a[0], a[1]); context.lineTo(b[0], b[1]); context.stroke();
      context.strokeStyle = "rgb(" + rgb.join(",") + ")";
      context.lineWidth = thick; context.lineCap = "round";
      context.beginPath(); context.moveTo(a[0], a[1]); context.lineTo(b[0], b[1]); context.stroke();
    }
    if (hover >= 0) {
      const p = places[hover];
      context.strokeStyle = "rgb(176,65,62)"; context.lineWidth = 3;
      context.beginPath(); context.arc(p[0], p[1], 9, 0, 2 * Math.PI); context.stroke();
    }
  }
  function tell() {
    const design = data.designs[Number(which.value)];
    label.textContent = hover < 0 ? "Drag to turn, wheel to zoom, point at a residue." :
      data.labels[hover] + " " + design.sequence[hover] + ", p " + design.confidence[hover].toFixed(2) +
      (design.contacts ? ", " + Math.round(100 * design.contacts[hover]) + " % of its contacts predicted" : "");
  }
  canvas.addEventListener("pointerdown", (e) => { drag = [e.clientX, e.clientY]; turning = false; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("pointermove", (e) => {
    if (drag) { yaw += (e.clientX - drag[0]) * 0.01; pitch += (e.clientY - drag[1]) * 0.01; drag = [e.clientX, e.clientY]; }
    const box = canvas.getBoundingClientRect();
    let near = 14; hover = -1;
    places.forEach((p, i) => {
      const d = Math.hypot(p[0] - (e.clientX - box.left), p[1] - (e.clientY - box.top));
      if (d < near) { near = d; hover = i; }
    });
    tell(); draw();
  });
  canvas.addEventListener("wheel", (e) => { e.preventDefault(); zoom = Math.min(6, Math.max(0.4, zoom * Math.exp(-e.deltaY * 0.001))); draw(); }, { passive: false });
  which.addEventListener("change", () => { tell(); draw(); });
  how.addEventListener("change", draw);
  window.addEventListener("resize", draw);
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  function spin() { if (turning) { yaw += 0.006; draw(); window.requestAnimationFrame(spin); } }
  tell(); draw();
  if (!still) window.requestAnimationFrame(spin);
})();

"use strict";
// Confusion matrices: buttons sort the classes, and the cell that is pointed at is said in words.
for (const matrix of document.querySelectorAll(".matrix")) {
  const orders = JSON.parse(matrix.dataset.orders), cell = Number(matrix.dataset.cell), said = matrix.querySelector(".said");
  const size = orders[Object.keys(orders)[0]].length * cell;
  for (const button of matrix.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const place = [];
      orders[button.dataset.order].forEach((label, index) => { place[label] = index; });
      for (const rect of matrix.querySelectorAll(".cell")) {
        rect.setAttribute("x", place[rect.dataset.predicted] * cell);
        rect.setAttribute("y", place[rect.dataset.label] * cell);
      }
      for (const text of matrix.querySelectorAll("text.row")) text.setAttribute("y", (place[text.dataset.label] + 0.5) * cell + 4);
      for (const text of matrix.querySelectorAll("text.column")) text.setAttribute("transform", `translate(${(place[text.dataset.label] + 0.5) * cell + 4} ${size + 6}) rotate(-90)`);
      for (const other of matrix.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
    });
  }
  matrix.addEventListener("pointerover", (event) => {
    const title = event.target.querySelector("title");
    if (event.target.classList.contains("cell") && title) said.textContent = title.textContent;
  });
}
// Clips stand still for people who have asked for less motion, and until they can be seen.
const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting && !still) entry.target.play().catch(() => {}); else entry.target.pause();
  }
});
const turn = (video) => { if (video.paused) video.play().catch(() => {}); else video.pause(); };
for (const video of document.querySelectorAll("video")) {
  video.addEventListener("click", () => turn(video));
  video.addEventListener("keydown", (event) => { if (event.key === " " || event.key === "Enter") { event.preventDefault(); turn(video); } });
  if (still) { video.autoplay = false; video.pause(); } watcher.observe(video);
}

// Word differences of two texts: stretches that both have, and stretches that only one has (as pages/word_diff.py).
// The shortest edit script by Myers (1986): time grows with the length times the number of differences.

const PIECES = /\s+|[\p{L}\p{N}_]+(?:['’][\p{L}\p{N}_]+)*|[^\p{L}\p{N}_\s]/gu;
const MOST_EDITS = 2500; // beyond it the texts have little in common, and all of both is marked

export function differences(one, other) {
  const left = one.match(PIECES) || [];
  const right = other.match(PIECES) || [];
  const pairs = matches(left, right);
  if (pairs === null) return [whole(one), whole(other)];
  return [stretches(left, pairs.map((pair) => pair[0])), stretches(right, pairs.map((pair) => pair[1]))];
}

// One text made into another: stretches in order, each `same`, `gone` or `added`.
export function edits(before, after) {
  const left = before.match(PIECES) || [];
  const right = after.match(PIECES) || [];
  const pairs = matches(left, right) || [];
  const made = [];
  const put = (kind, pieces) => {
    const text = pieces.join("");
    if (!text) return;
    if (made.at(-1)?.kind === kind) made.at(-1).text += text;
    else made.push({ kind, text });
  };
  let [i, j] = [0, 0];
  for (const [one, other] of [...pairs, [left.length, right.length]]) {
    put("gone", left.slice(i, one));
    put("added", right.slice(j, other));
    put("same", right.slice(other, other + 1));
    [i, j] = [one + 1, other + 1];
  }
  return made;
}

function whole(text) {
  return text ? [{ text, own: true }] : [];
}

// Indices of equal pieces, in order. Null where there are too many differences.
function matches(left, right) {
  let start = 0;
  while (start < left.length && start < right.length && left[start] === right[start]) start += 1;
  let [endLeft, endRight] = [left.length, right.length];
  while (endLeft > start && endRight > start && left[endLeft - 1] === right[endRight - 1]) {
    endLeft -= 1;
    endRight -= 1;
  }
  const middle = myers(left.slice(start, endLeft), right.slice(start, endRight));
  if (middle === null) return null;
  // The shortest script is not the clearest: a lone "the" between two long differences is no common ground.
  const head = Array.from({ length: start }, (_, i) => [i, i]);
  const tail = Array.from({ length: left.length - endLeft }, (_, i) => [endLeft + i, endRight + i]);
  return cleared([...head, ...middle.map(([i, j]) => [i + start, j + start]), ...tail], left, right);
}

// Without shared stretches that are shorter than the differences on both of their sides.
function cleared(pairs, left, right) {
  const ends = new Map([left, right].map((pieces) => {
    let sum = 0;
    return [pieces, [0, ...pieces.map((piece) => (sum += piece.length))]];
  }));
  const length = (pieces, from, to) => ends.get(pieces)[to] - ends.get(pieces)[from];
  let blocks = [];
  for (const [i, j] of pairs) {
    const last = blocks.at(-1);
    if (last && last.i + last.size === i && last.j + last.size === j) last.size += 1;
    else blocks.push({ i, j, size: 1 });
  }
  for (let again = true; again; ) {
    const gap = (before, after) => Math.max(length(left, before.i + before.size, after.i), length(right, before.j + before.size, after.j));
    const all = [{ i: 0, j: 0, size: 0 }, ...blocks, { i: left.length, j: right.length, size: 0 }];
    const weak = all.findIndex((one, at) => {
      if (at === 0 || at === all.length - 1) return false;
      return length(left, one.i, one.i + one.size) < Math.min(gap(all[at - 1], one), gap(one, all[at + 1]));
    });
    again = weak > 0;
    if (again) blocks = blocks.filter((_, at) => at !== weak - 1);
  }
  return blocks.flatMap(({ i, j, size }) => Array.from({ length: size }, (_, k) => [i + k, j + k]));
}

function myers(left, right) {
  const [n, m] = [left.length, right.length];
  if (!n || !m) return [];
  const most = Math.min(n + m, MOST_EDITS);
  const offset = most + 1;
  const reach = new Int32Array(2 * most + 3);
  const trace = [];
  for (let edits = 0; edits <= most; edits += 1) {
    trace.push(reach.slice(offset - edits - 1, offset + edits + 2));
    for (let k = -edits; k <= edits; k += 2) {
      const down = k === -edits || (k !== edits && reach[offset + k - 1] < reach[offset + k + 1]);
      let x = down ? reach[offset + k + 1] : reach[offset + k - 1] + 1;
      let y = x - k;
      while (x < n && y < m && left[x] === right[y]) {
        x += 1;
        y += 1;
      }
      reach[offset + k] = x;
      if (x >= n && y >= m) return retraced(trace, n, m);
    }
  }
  return null;
}

function retraced(trace, n, m) {
  const pairs = [];
  let [x, y] = [n, m];
  for (let edits = trace.length - 1; edits >= 0; edits -= 1) {
    const at = (k) => trace[edits][k + edits + 1];
    const k = x - y;
    const down = k === -edits || (k !== edits && at(k - 1) < at(k + 1));
    const before = down ? k + 1 : k - 1;
    const fromX = at(before);
    const fromY = fromX - before;
    while (x > fromX && y > fromY) {
      x -= 1;
      y -= 1;
      pairs.push([x, y]);
    }
    [x, y] = [fromX, fromY];
  }
  return pairs.reverse();
}

function stretches(pieces, shared) {
  const marks = pieces.map(() => true);
  for (const i of shared) marks[i] = false;
  // A single space that both have, between two marked words, is marked too; one at the edge of a difference is not.
  const inside = (i) => i > 0 && i < pieces.length - 1 && marks[i - 1] && marks[i + 1];
  const spaces = pieces.map((piece) => /^\s/.test(piece));
  spaces.forEach((space, i) => { if (space && inside(i)) marks[i] = true; });
  spaces.forEach((space, i) => { if (space && marks[i] && !inside(i)) marks[i] = false; });
  const joined = [];
  pieces.forEach((piece, i) => {
    const last = joined.at(-1);
    if (last && last.own === marks[i]) last.text += piece;
    else joined.push({ text: piece, own: marks[i] });
  });
  return joined;
}

// Unfinished work, kept in the browser for each person and task, so that a reload or an expired session loses nothing.

const PREFIX = "steersman:draft:";

export class Drafts {
  constructor({ storage, person, project }) {
    this.storage = storage;
    this.prefix = `${PREFIX}${person}:${project}:`;
  }

  read(task) {
    const text = this.storage.getItem(this.prefix + task);
    return text === null ? null : JSON.parse(text);
  }

  // An empty draft is forgotten. Returns whether it could be kept.
  write(task, draft) {
    if (draft === null) {
      this.storage.removeItem(this.prefix + task);
      return true;
    }
    try {
      this.storage.setItem(this.prefix + task, JSON.stringify(draft));
      return true;
    } catch {
      return false;
    }
  }
}

// Everything of one person in this browser is forgotten: drafts, unsent work, and what they have seen.
export function forgetPerson(storage, person) {
  const theirs = new RegExp(`^steersman:(draft|outbox|seen):${person}:`);
  for (const name of Object.keys(storage)) if (theirs.test(name)) storage.removeItem(name);
}

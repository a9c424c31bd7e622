// Words as they are said, put together to what is read.

// A silence that ends a phrase, and what a word is taken to last where nothing says so.
const GAP_MS = 900;
const WORD_MS = 320;

/** Adds a word to a text, with a space unless the word brings its own or is punctuation. */
export function join(text, word) {
  if (!text) return word.trimStart();
  return /^[\s.,;:!?’'…)]/.test(word) || text.endsWith(" ") ? text + word : `${text} ${word}`;
}

/** The single words of a line, where it is known when each of them was said. */
export function single(line) {
  if (!line.words?.length) return [line];
  return line.words.map((word, at) => {
    const next = line.words[at + 1]?.at_ms ?? word.at_ms + WORD_MS;
    return { ...word, who: line.who, until_ms: Math.min(next, word.at_ms + 2 * WORD_MS) };
  });
}

// A turn that is longer ends with its sentence.
const LONG = 220;

/** The words of a call as phrases: `{who, at_ms, until_ms, text, words}`, in order of time. */
export function phrases(transcript) {
  const open = {};
  const all = [];
  for (const word of [...transcript].sort((a, b) => a.at_ms - b.at_ms)) {
    const until = word.until_ms ?? word.at_ms + WORD_MS;
    const last = open[word.who];
    const rounded = last && /[.!?]$/.test(last.text)
      && (last.text.length > LONG || all.at(-1) !== last);
    if (last && word.at_ms - last.until_ms < GAP_MS && !rounded) {
      last.text = join(last.text, word.text);
      last.until_ms = Math.max(last.until_ms, until);
      last.words.push(word);
    } else {
      open[word.who] = { who: word.who, at_ms: word.at_ms, until_ms: until, text: word.text.trim(),
        words: [word] };
      all.push(open[word.who]);
    }
  }
  return all;
}

/** What was said last, by one of the two, as one line of at most `length` characters. */
export function tail(words, length = 110) {
  const last = words.at(-1);
  if (!last) return null;
  let text = "";
  for (let at = words.length - 1; at >= 0 && words[at].who === last.who; at -= 1) {
    text = text ? join(words[at].text, text) : words[at].text;
    if (text.length > length) return { who: last.who, text: `…${text.slice(-length)}` };
  }
  return { who: last.who, text: text.trim() };
}

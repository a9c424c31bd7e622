// Sentences for what keeps a browser from talking: what it is, and what to do.

const sentence = (title, text) => ({ title, text });

export const INSECURE = sentence("This page may not use the microphone",
  "Browsers give it only to pages that come by https, or from this very machine. Open the "
  + "dashboard by http://localhost, through an ssh tunnel, or put https before the server.");
export const UNABLE = sentence("This browser cannot hold a call",
  "It lacks audio worklets or access to microphones. A current Firefox, Chrome, Edge or Safari "
  + "has both.");
export const LOST = sentence("The connection was lost",
  "Nothing came from the server any more. The call is over; talk again when it can be reached.");
export const UNREACHABLE = sentence("The server cannot be reached",
  "Is it running, and is this machine online?");
export const BUSY = sentence("The server took no call",
  "All its engines are busy or away, or it has as many calls as it may. Try again in a moment, or "
  + "look at the engines.");
export const SLOW = sentence("The server did not answer in time",
  "It took the connection and started no call within 30 s. Look at the engines.");
export const STUCK = sentence("The sound did not open in time",
  "Within 30 s the server did not hand out what plays it, or this browser did not begin. Load this "
  + "page again, and talk again.");
export const MUTE = sentence("The microphone is gone",
  "It was unplugged, or another program took it. The bot hears silence; hang up and talk again.");

/** Why there is no microphone, from what getUserMedia threw. */
export function microphone(error) {
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return sentence("The microphone is not allowed",
        "You or your browser's settings refused it to this page. Allow it beside the address, and "
        + "try again.");
    case "NotFoundError":
    case "OverconstrainedError":
      return sentence("There is no microphone",
        "Plug one in, or switch it on in the system's settings, and try again.");
    case "NotReadableError":
    case "AbortError":
      return sentence("The microphone cannot be used",
        "Another program may hold it, or the system refuses it to this browser.");
    default:
      return sentence("The microphone cannot be used", error.message);
  }
}

/** What the server itself said against a call. */
export function refused(message) {
  return sentence("The server took no call", message);
}

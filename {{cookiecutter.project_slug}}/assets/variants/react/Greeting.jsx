import { useState } from "react";

export function Greeting({ url, text }) {
  const [name, setName] = useState("");
  const [answer, setAnswer] = useState(text);

  async function greet(event) {
    event.preventDefault();
    const response = await fetch(`${url}?${new URLSearchParams({ name })}`);
    setAnswer((await response.json()).text);
  }

  return (
    <>
      <form onSubmit={greet}>
        <label htmlFor="name">Your name</label>
        <input
          id="name"
          value={name}
          onChange={(event) => setName(event.target.value)}
          autoComplete="off"
        />
        <button>Greet</button>
      </form>
      <p className="answer">{answer}</p>
    </>
  );
}

// llama.cpp's side of export.py: node llama.mjs FOLDER MODEL.gguf < texts as JSON > answers as JSON
// FOLDER has node_modules/node-llama-cpp. One thread, no GPU.
import {readFileSync} from "node:fs";
import {pathToFileURL} from "node:url";

const [folder, path] = process.argv.slice(2);
const home = `${folder}/node_modules/node-llama-cpp/`;
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(`${home}dist/index.js`));
const {version} = JSON.parse(readFileSync(`${home}package.json`));
const {prompts, texts, tokens} = JSON.parse(readFileSync(0));

const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: 1});
const model = await llama.loadModel({modelPath: path, gpuLayers: 0});
const context = await model.createContext({contextSize: model.trainContextSize, threads: 1});
const sequence = context.getSequence();
const written = [], probabilities = [];
for (const prompt of prompts) {
    const ids = model.tokenize(prompt, true), new_ids = [];
    await sequence.clearHistory();
    for await (const id of sequence.evaluate(ids, {temperature: 0, yieldEogToken: true})) {
        if (new_ids.push(id) >= tokens) break;
    }
    written.push(new_ids);
    await sequence.clearHistory();
    const last = [ids.at(-1), {generateNext: {probabilities: true, options: {temperature: 1}}}];
    const answers = await sequence.controlledEvaluate([...ids.slice(0, -1), last]);
    probabilities.push([...answers.at(-1).next.probabilities]);
}
const ids = texts.map((text) => model.tokenize(text, true));
process.stdout.write(JSON.stringify({version, ids, written, probabilities}) + "\n", () => process.exit(0));

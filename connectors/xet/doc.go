// Package xet reads files from the content-addressed storage behind the Hugging
// Face Hub: the second way to the bytes of a file that the hub offers over HTTP,
// too.
//
//  1. The hub gives a token for one repository at one commit, and says where the
//     storage is. The token is asked for again before it expires, and goes to
//     the storage's own origin alone.
//  2. For a range of a file the storage answers with a reconstruction: terms,
//     each a run of chunks of a xorb, that give the range one after the other,
//     and signed URLs for the bytes of those runs. Version 2 of the answer is
//     asked for first, version 1 where that is not there.
//  3. A signed URL is asked for exactly what it was signed for, without any
//     credential. Several ranges come as multipart/byteranges. Where it is
//     refused, the reconstruction is asked for once more.
//  4. Chunks are decoded as they arrive; the bytes come in order.
//
// Everything that comes from outside is bounded: the answers, the number of
// terms, their sizes, those of chunks, and what is thrown away of them.
//
// What a reconstruction tells names no hash of a chunk, and that of a xorb is
// of all its chunks, of which a file rarely takes all. So bytes are not verified
// here: whoever takes them in compares the file's digest.
package xet

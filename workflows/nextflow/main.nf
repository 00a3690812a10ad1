#!/usr/bin/env nextflow

// A cohort, one task a slide; see docs/clusters.md.

include { WSISEG_RUN } from './modules/wsiseg/run/main'

workflow {
    def sheet = file(params.input, checkIfExists: true)

    // A slide that is missing fails by itself, in its task, and costs no other.
    slides = channel
        .fromPath(params.input)
        .splitCsv(header: true)
        .map { row ->
            def slide = sheet.parent.resolve(row.slide)
            def folder = slide.parent.resolve(slide.baseName) // MIRAX keeps its pixels in a folder beside the file
            def beside = slide.isFile() && folder.isDirectory() ? folder : []
            def roi = row.roi ? sheet.parent.resolve(row.roi) : []
            [[id: row.id, mpp: row.mpp], slide, beside, roi]
        }

    WSISEG_RUN(slides)
}
